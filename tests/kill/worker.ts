/** One of the workers that run strikes at the same time, each with directories and a software TPM of its own. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { NO_TPM } from "../support/environment.ts";
import { type Before, type Bench, checkNow, checkOutcome, checkState, describe } from "./checks.ts";
import { Chip } from "./chip.ts";
import { copyTree, findSecrets, listKeys, listTree, put, readIdentity, shapeOf } from "./files.ts";
import { type Ended, type Environment, run } from "./program.ts";
import { DOCUMENT, OLD_KEY, type Scenario } from "./scenario.ts";
import { type Strike, strike } from "./strike.ts";

/** The programs that are run. */
export interface Programs {
  readonly amesh: string;
  readonly strike: string;
}

/** What came of one strike. */
export interface Report {
  readonly calls: readonly string[];
  /** The call that was struck; `null` when the point was not reached. */
  readonly call: string | null;
  /** A line each; empty when all is well. */
  readonly problems: readonly string[];
}

/** A directory from which a scenario starts. */
interface Template {
  readonly home: string;
  readonly before: Before;
  readonly secrets: readonly string[];
}

/** What only a defect prints: an error that nobody expected, a stack. */
const DEFECT = /\bunexpected\b|ERR_INTERNAL|^\s+at .+:\d+|\bpanic\b/m;

/** Runs strikes one after the other. */
export class Worker implements Disposable {
  readonly #templates = new Map<string, Template>();
  readonly #outputs: Ended[] = [];
  #chip: Chip | undefined;
  #copies = 0;

  /**
   * @param directory a new one for this worker.
   * @param known what {@linkcode checkState} found, by scenario and by what the directory looked like; all workers'.
   */
  constructor(
    readonly directory: string,
    readonly programs: Programs,
    readonly known: Map<string, readonly string[]>,
  ) {
    mkdirSync(directory);
  }

  [Symbol.dispose](): void {
    this.#chip?.[Symbol.dispose]();
  }

  /** Runs the command of a scenario, strikes, and looks at what is left. @throws {Error} the harness does not work. */
  async attempt(scenario: Scenario, at: Strike): Promise<Report> {
    const template = await this.#template(scenario);
    const chip = this.#chipFor(scenario);
    if (chip !== null) chip.hasLegacyKey = this.#startsWithHandleKey(template);
    const work = join(this.directory, "work");
    mkdirSync(work);
    try {
      const home = join(work, "home");
      copyTree(template.home, home);
      const argv = [this.programs.amesh, ...scenario.command];
      const env = this.#env(scenario, home, scenario.env ?? {});
      this.#outputs.length = 0;
      const struck = await strike(this.programs.strike, at, argv, home, env, join(work, "report"));
      this.#outputs.push(struck.ended);
      const isKilled = at.fault === "kill" && struck.call !== null;
      const problems = chip === null || isKilled
        ? []
        : chip.leftovers().map((handle) => `it leaves ${handle} loaded in the TPM`);
      chip?.flush();
      problems.push(...await this.#check(scenario, template, home, at, struck, isKilled));
      const secrets = [...template.secrets, ...findSecrets(home)];
      for (const { stdout, stderr } of this.#outputs) {
        if (DEFECT.test(stderr)) problems.push(`a defect: ${stderr.trim()}`);
        if (secrets.some((secret) => (stdout + stderr).includes(secret))) {
          problems.push(`a passphrase is printed: ${stderr}${stdout}`);
        }
      }
      if (problems.length > 0) {
        problems.push(`left: ${listTree(join(home, ".amesh")).join(", ")}`);
        if (!isKilled) problems.push(`it ended with ${describe(struck.ended)}`);
      }
      return { calls: struck.calls, call: struck.call, problems };
    } finally {
      rmSync(work, { recursive: true });
    }
  }

  async #check(
    scenario: Scenario,
    template: Template,
    home: string,
    at: Strike,
    { ended, call }: { ended: Ended; call: string | null },
    isKilled: boolean,
  ): Promise<string[]> {
    const chip = this.#chipFor(scenario);
    const handleKey = this.#startsWithHandleKey(template) ? chip?.hasLegacyKey ?? null : null;
    const bench: Bench = {
      amesh: (place, args, env) => this.#amesh(scenario, place, args, env),
      copy: (from) => {
        if (chip !== null) chip.hasLegacyKey = handleKey;
        const to = join(this.directory, "work", `copy${this.#copies++}`);
        copyTree(from, to);
        return to;
      },
      hasHandleKey: () => handleKey === null ? null : chip?.hasLegacyKey ?? null,
      signed: new Map(),
    };
    const { before } = template;
    const problems = isKilled ? [] : await checkOutcome(bench, scenario, before, home, ended, at, call);
    const look = (place: string) => `${scenario.name}\n${handleKey}\n${shapeOf(place, template.home)}`;
    const shape = look(home);
    const known = this.known.get(shape);
    if (known !== undefined && shape === look(template.home)) return [...problems, ...known];
    // Failures mostly end in a state that another one, or a kill, has left before: then whether it works is enough.
    if (isKilled || known === undefined) {
      const found = await checkState(bench, scenario, before, home);
      this.known.set(shape, found);
      return [...problems, ...found];
    }
    return [...problems, ...(await checkNow(bench, scenario, before, bench.copy(home))).problems];
  }

  /** Whether the key of a scenario is one of amesh 0.7 in the TPM: `null` when it is not. */
  #startsWithHandleKey({ before }: Template): true | null {
    return before.isHandleKey ? true : null;
  }

  #chipFor({ usesTpm }: Scenario): Chip | null {
    return usesTpm ? this.#chip ??= new Chip() : null;
  }

  #env(scenario: Scenario, home: string, env: Environment): Environment {
    return { HOME: home, AMESH_TPM_TCTI: this.#chipFor(scenario)?.tcti ?? NO_TPM, ...env };
  }

  async #amesh(
    scenario: Scenario,
    home: string,
    args: readonly string[],
    env: Environment,
  ): Promise<Ended> {
    const ended = await run([this.programs.amesh, ...args], home, this.#env(scenario, home, env));
    this.#outputs.push(ended);
    return ended;
  }

  async #template(scenario: Scenario): Promise<Template> {
    const known = this.#templates.get(scenario.name);
    if (known !== undefined) return known;
    const home = join(this.directory, `start${this.#templates.size}`);
    mkdirSync(home);
    put(join(home, DOCUMENT), "a document\n", 0o600);
    const amesh = async (...args: readonly string[]) => {
      const ended = await this.#amesh(scenario, home, args, {});
      if (ended.code !== 0) throw new Error(`amesh ${args.join(" ")}: ${describe(ended)}`);
      return ended;
    };
    await scenario.prepare({ home, amesh, chip: this.#chipFor(scenario) });
    const fields = readIdentity(home);
    const text = (name: string) => typeof fields?.[name] === "string" ? fields[name] : null;
    const publicKey = text("publicKey");
    if (publicKey !== null) put(join(home, OLD_KEY), `${publicKey}\n`, 0o600);
    const template = {
      home,
      before: {
        deviceId: text("deviceId"),
        keys: listKeys(home),
        isHandleKey: text("storageBackend") === "tpm2" && fields?.["tpm"] === undefined,
      },
      secrets: findSecrets(home),
    };
    this.#templates.set(scenario.name, template);
    return template;
  }
}
