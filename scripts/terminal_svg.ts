/**
 * A terminal session as one SVG file: text that can be selected, animated by CSS alone, without a script or a font in
 * it. Whoever shows it without animation sees the last screen. Pure.
 */

/** One command and what it printed. */
export interface Step {
  readonly command: string;
  /** Lines as the terminal had them, before they were broken at its right edge. */
  readonly output: readonly string[];
}

/** Size of the terminal, in characters. */
export interface Terminal {
  readonly columns: number;
  readonly rows: number;
  readonly title: string;
}

const PROMPT = "$ ";
/** In pixels. A character is as wide as in the usual fonts of this size (0.602 em). */
const FONT = 14;
const CHARACTER = FONT * 0.602;
const LINE = 20;
const PADDING = 20;
const BAR = 40;

/** In seconds. */
const TYPING = 0.04;
const BEFORE_TYPING = 0.6;
const BEFORE_OUTPUT = 0.4;
const READING_A_LINE = 0.22;
const LAST_SCREEN = 8;

/** A line on the screen from a time on. */
interface Line {
  readonly text: string;
  /** Seconds from the beginning. */
  readonly from: number;
  /** Until when it is being typed; none for output. */
  readonly typedUntil?: number;
}

/** Breaks a line at spaces, where it can, to at most `columns` characters. */
export function wrapLine(line: string, columns: number): string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > columns) {
    const space = rest.lastIndexOf(" ", columns);
    const end = space > 0 ? space : columns;
    lines.push(rest.slice(0, end));
    rest = rest.slice(space > 0 ? end + 1 : end);
  }
  return [...lines, rest];
}

/** When each line comes, and how long it all takes. */
function schedule(steps: readonly Step[], columns: number): { lines: Line[]; seconds: number } {
  const lines: Line[] = [];
  let now = 0;
  for (const { command, output } of steps) {
    const text = PROMPT + command;
    if (text.length > columns) throw new RangeError(`command is wider than the terminal: ${command}`);
    const from = now + BEFORE_TYPING;
    const typedUntil = from + command.length * TYPING;
    lines.push({ text, from, typedUntil });
    now = typedUntil + BEFORE_OUTPUT;
    const printed = output.flatMap((line) => wrapLine(line, columns));
    lines.push(...printed.map((line) => ({ text: line, from: now })));
    now += printed.length * READING_A_LINE;
  }
  lines.push({ text: PROMPT, from: now });
  return { lines, seconds: now + LAST_SCREEN };
}

const escapeXml = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const short = (value: number) => String(Number(value.toFixed(2)));

/** @returns the file; its last line ends with a newline. @throws {RangeError} a command does not fit into one line. */
export function renderTerminal(steps: readonly Step[], { columns, rows, title }: Terminal): string {
  const { lines, seconds } = schedule(steps, columns);
  const at = (time: number) => `${short(time / seconds * 100)}%`;
  const width = Math.ceil(columns * CHARACTER) + 2 * PADDING;
  const screen = rows * LINE;
  const height = BAR + screen + PADDING;
  const styles = [
    `text{font:${FONT}px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#c9d1d9;white-space:pre}`,
    ".p{fill:#7ee787}.c{fill:#fff;font-weight:600}.t{fill:#8b949e;text-anchor:middle}",
    `.a,.s,.k{animation:${short(seconds)}s step-end infinite}.k{transform-origin:0 0}`,
    "@media(prefers-reduced-motion:reduce){.a,.s,.k{animation:none}}",
  ];

  const blocks: string[] = [];
  const clips: string[] = [];
  for (let first = 0; first < lines.length;) {
    const { from } = lines[first]!;
    const next = lines.findIndex((line, index) => index > first && line.from !== from);
    const end = next === -1 ? lines.length : next;
    const id = blocks.length;
    styles.push(`.a${id}{animation-name:a${id}}@keyframes a${id}{0%{opacity:0}${at(from)}{opacity:1}}`);
    const texts = lines.slice(first, end).map((line, index) => {
      const y = (first + index) * LINE + FONT;
      if (!line.text.startsWith(PROMPT)) return `<text y="${y}">${escapeXml(line.text)}</text>`;
      const prompt = `<text class="p" y="${y}">$</text>`;
      const { text, typedUntil } = line;
      if (typedUntil === undefined) return prompt;
      const command = text.slice(PROMPT.length);
      const [x, length] = [short(PROMPT.length * CHARACTER), short(command.length * CHARACTER)];
      clips.push(
        `<clipPath id="k${id}"><rect class="k k${id}" y="${y - FONT}" width="${
          columns * FONT
        }" height="${LINE}"/></clipPath>`,
      );
      // The rectangle of the clip is the whole line wide: what has been typed is a part of that.
      const typed = short(command.length * CHARACTER / (columns * FONT));
      styles.push(
        `.k${id}{animation-name:k${id}}@keyframes k${id}{0%{transform:scaleX(0)}` +
          `${at(from)}{transform:scaleX(0);animation-timing-function:steps(${command.length})}` +
          `${at(typedUntil)}{transform:scaleX(${typed})}${at(typedUntil + 0.01)},to{transform:none}}`,
      );
      return `${prompt}<g transform="translate(${x})"><text class="c" y="${y}" textLength="${length}" ` +
        `clip-path="url(#k${id})">${escapeXml(command)}</text></g>`;
    });
    blocks.push(`<g class="a a${id}">${texts.join("\n")}</g>`);
    first = end;
  }

  const offset = (count: number) => Math.max(0, count - rows) * LINE;
  const scrolls = lines.flatMap((line, index) =>
    lines[index + 1]?.from === line.from || offset(index + 1) === 0
      ? []
      : [`${at(line.from)}{transform:translate(0,-${offset(index + 1)}px)}`]
  );
  styles.push(`.s{animation-name:s}@keyframes s{0%{transform:none}${scrolls.join("")}}`);
  const dots = ["#ff5f57", "#febc2e", "#28c840"].map((fill, index) =>
    `<circle cx="${PADDING + 2 + index * 20}" cy="${BAR / 2}" r="6" fill="${fill}"/>`
  );

  return [
    `<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${
      escapeXml(title)
    }">`,
    `<style>${styles.join("\n")}</style>`,
    `<rect x=".5" y=".5" width="${width - 1}" height="${
      height - 1
    }" rx="10" fill="#0d1117" stroke="#3d444d"/>`,
    ...dots,
    `<text class="t" x="${width / 2}" y="${BAR / 2 + 5}">${escapeXml(title)}</text>`,
    `<defs>${clips.join("\n")}</defs>`,
    `<svg x="${PADDING}" y="${BAR}" width="${width - 2 * PADDING}" height="${screen}">`,
    `<g class="s" transform="translate(0,-${offset(lines.length)})">`,
    ...blocks,
    "</g></svg></svg>",
    "",
  ].join("\n");
}
