/** Asking a person before each use of the key, by the program that SSH_ASKPASS names, one question at a time. */
import type { Fd } from "../platform/socket.ts";
import { closeFd, makePipe, receive } from "../platform/socket.ts";
import { endProcess, spawn, waitExit } from "../platform/spawn.ts";

/** How much of an answer is read; a yes is shorter. */
const MAX_ANSWER_BYTES = 64;
const SIGTERM = 15;

/** What is asked, and what becomes of the answer. */
export interface Question {
  readonly text: string;
  /** Whether nobody waits for the answer any more. */
  isVoid(): boolean;
  /** Called once, unless it is void. */
  answer(isAllowed: boolean): void;
}

/** A question that a person sees. */
interface Dialog {
  readonly question: Question;
  readonly pid: number;
  readonly output: Fd;
  readonly buffer: Uint8Array;
  length: number;
  isRead: boolean;
}

/** The questions of one agent. */
export class Confirmations {
  readonly #waiting: Question[] = [];
  #dialog: Dialog | null = null;

  /** @param askpass the program. */
  constructor(readonly askpass: string) {}

  /** Descriptor to read from, while a program has it open. */
  get descriptor(): Fd | null {
    return this.#dialog === null || this.#dialog.isRead ? null : this.#dialog.output;
  }

  /** Whether a program has said what it had to say and still has to end. */
  get isEnding(): boolean {
    return this.#dialog?.isRead ?? false;
  }

  /** Asks when the questions before are answered. @throws {AmeshError} the program cannot be started. */
  ask(question: Question): void {
    this.#waiting.push(question);
  }

  /**
   * Goes on with what can be done without waiting.
   *
   * @param start is told before each program is started what it is asked.
   * @returns why a program could not be started; `null` when none failed.
   */
  proceed(): unknown {
    for (;;) {
      if (this.#dialog !== null && !this.#finish(this.#dialog)) return null;
      const question = this.#waiting.shift();
      if (question === undefined) return null;
      if (question.isVoid()) continue;
      try {
        this.#dialog = this.#start(question);
      } catch (error) {
        question.answer(false);
        return error;
      }
    }
  }

  #start(question: Question): Dialog {
    const pipe = makePipe();
    try {
      const pid = spawn({
        path: this.askpass,
        argv: [this.askpass, question.text],
        descriptors: { 1: pipe.write },
      });
      const buffer = new Uint8Array(MAX_ANSWER_BYTES);
      return { question, pid, output: pipe.read, buffer, length: 0, isRead: false };
    } catch (error) {
      closeFd(pipe.read);
      throw error;
    } finally {
      closeFd(pipe.write);
    }
  }

  /** @returns whether it is over. */
  #finish(dialog: Dialog): boolean {
    if (dialog.question.isVoid()) endProcess(dialog.pid, SIGTERM);
    while (!dialog.isRead) {
      const room = dialog.buffer.subarray(dialog.length);
      const count = receive(dialog.output, room.length > 0 ? room : new Uint8Array(MAX_ANSWER_BYTES));
      if (count === "later") break;
      if (count === 0) dialog.isRead = true;
      else dialog.length += count;
    }
    const exit = waitExit(dialog.pid);
    if (exit === null) return false;
    closeFd(dialog.output);
    this.#dialog = null;
    if (!dialog.question.isVoid()) dialog.question.answer(exit.code === 0 && isYes(dialog));
    return true;
  }

  /** Ends the program that is asking. */
  stop(): void {
    if (this.#dialog !== null) endProcess(this.#dialog.pid, SIGTERM);
  }
}

/** What ssh-agent takes for a yes: nothing, an empty line, or the word. */
function isYes({ buffer, length }: Dialog): boolean {
  if (length > MAX_ANSWER_BYTES) return false;
  const answer = new TextDecoder().decode(buffer.subarray(0, length));
  return answer === "" || answer.startsWith("\n") || answer.trim().toLowerCase() === "yes";
}
