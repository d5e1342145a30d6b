/** What a program needs before the rest is loaded: see there for what each is. Nothing here imports a package from npm. */
export { listenAddress } from './environment.ts';
export { surviveLostOutput } from './output.ts';
export { type OwnPort, openPort } from './port.ts';
export { readSeat } from './seat.ts';
