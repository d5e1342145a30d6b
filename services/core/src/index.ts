export { AppTraffic, Traffic } from './traffic.ts';
