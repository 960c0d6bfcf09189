/** Asking a person before each use of the key, by the program that SSH_ASKPASS names, one question at a time. */
import { type Bytes, concatBytes } from "../bytes.ts";
import type { Fd } from "../platform/socket.ts";
import { closeFd, makePipe, receive } from "../platform/socket.ts";
import { endProcess, spawn, waitExit } from "../platform/spawn.ts";

/** How much of an answer is read; a yes is shorter. */
const MAX_ANSWER_BYTES = 64;
/** How long a program that is told to end may take, in milliseconds. */
const END_MS = 1_000;
const SIGTERM = 15;
const SIGKILL = 9;

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
  /** What it has said so far. */
  answer: Bytes;
  /** When it was told to end, because nobody waits for the answer any more. */
  toldAt: number | null;
}

/** The questions of one agent. */
export class Confirmations {
  readonly #waiting: Question[] = [];
  #dialog: Dialog | null = null;

  /** @param askpass the program. */
  constructor(readonly askpass: string) {}

  /** Whether a program is asking, or a question waits: {@linkcode proceed} has to look again, no descriptor tells. */
  get hasWork(): boolean {
    return this.#dialog !== null || this.#waiting.length > 0;
  }

  /** Asks when the questions before are answered. */
  ask(question: Question): void {
    this.#waiting.push(question);
  }

  /**
   * Goes on with what can be done without waiting.
   *
   * @returns why a program could not be started; `null` when none failed.
   */
  proceed(): unknown {
    let failure: unknown = null;
    for (;;) {
      if (this.#dialog !== null && !this.#finish(this.#dialog)) return failure;
      const question = this.#waiting.shift();
      if (question === undefined) return failure;
      if (question.isVoid()) continue;
      try {
        this.#dialog = this.#start(question);
      } catch (error) {
        failure ??= error;
        question.answer(false);
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
      return { question, pid, output: pipe.read, answer: new Uint8Array(0), toldAt: null };
    } catch (error) {
      closeFd(pipe.read);
      throw error;
    } finally {
      closeFd(pipe.write);
    }
  }

  /** @returns whether it is over. */
  #finish(dialog: Dialog): boolean {
    if (dialog.question.isVoid()) end(dialog);
    // Its end counts, not that of its output, which something that it has started may keep open.
    const exit = waitExit(dialog.pid);
    dialog.answer = drain(dialog.output, dialog.answer);
    if (exit === null) return false;
    const isAllowed = exit.code === 0 && isYes(dialog.answer);
    closeFd(dialog.output);
    this.#dialog = null;
    if (!dialog.question.isVoid()) dialog.question.answer(isAllowed);
    return true;
  }

  /** Ends the program that is asking. */
  stop(): void {
    if (this.#dialog !== null) endProcess(this.#dialog.pid, SIGKILL);
  }
}

function end(dialog: Dialog): void {
  const now = performance.now();
  if (dialog.toldAt === null) endProcess(dialog.pid, SIGTERM);
  else if (now - dialog.toldAt >= END_MS) endProcess(dialog.pid, SIGKILL);
  dialog.toldAt ??= now;
}

/** Adds what a program has written. What is too long for a yes is read all the same: a full pipe would stop the program. */
function drain(output: Fd, before: Bytes): Bytes {
  const piece = new Uint8Array(4096);
  for (let answer = before;;) {
    const count = receive(output, piece);
    if (count === "later" || count === 0) return answer;
    answer = concatBytes(answer, piece.subarray(0, count)).slice(0, MAX_ANSWER_BYTES + 1);
  }
}

/** What ssh-agent takes for a yes: nothing, an empty line, or the word. */
function isYes(bytes: Bytes): boolean {
  if (bytes.length > MAX_ANSWER_BYTES) return false;
  const answer = new TextDecoder().decode(bytes);
  return answer === "" || answer.startsWith("\n") || answer.trim().toLowerCase() === "yes";
}
