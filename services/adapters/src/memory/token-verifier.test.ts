import { tokenVerifierContract } from '@starling/ports/contract';
import { MemoryTokenVerifier } from './token-verifier.ts';

tokenVerifierContract('MemoryTokenVerifier', () => new MemoryTokenVerifier());
