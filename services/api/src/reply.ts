/** Answers as they are written: JSON text, and the problems of runtime's one table. */
import { type HttpReply, toHttpReply } from '@starling/runtime';
import type { FastifyReply } from 'fastify';

export function sendJson(reply: FastifyReply, text: string): FastifyReply {
  return reply.header('content-type', 'application/json; charset=utf-8').send(text);
}

/** A refusal, or something thrown. Releases what was said. */
export function sendProblem(reply: FastifyReply, problem: unknown): HttpReply {
  const answer = toHttpReply(problem);
  sendJson(reply.code(answer.status).headers(answer.headers), JSON.stringify(answer.body));
  return answer;
}

/** An object of JSON text; unlike one built of properties it takes a channel called `__proto__`. */
export function toJsonObject(entries: Iterable<readonly [name: string, value: unknown]>): string {
  const members: string[] = [];
  for (const [name, value] of entries) members.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return `{${members.join(',')}}`;
}
