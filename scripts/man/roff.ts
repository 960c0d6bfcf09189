/** Text of manual pages: the macros of man(7) and what must be escaped in them (groff_char(7)). */

const SPECIAL: Readonly<Record<string, string>> = {
  "\\": "\\(rs",
  // A plain one is a hyphen, which is not what is typed.
  "-": "\\-",
  "'": "\\(aq",
  '"': "\\(dq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
};

/** Longest line of the source that we make, in characters. */
const SOURCE_WIDTH = 79;

/** Text as it stands, on one line; it begins no macro. */
export function escaped(text: string): string {
  return notAMacro(escapedPart(text));
}

function escapedPart(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ").replaceAll(/[\\'"`^~-]/g, (character) => SPECIAL[character]!);
}

/** A line that begins with a dot or `'` is one. */
function notAMacro(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}

/** What is typed as it is. */
export function bold(text: string): string {
  return `\\fB${escaped(text)}\\fR`;
}

/** What something is put in place of. */
export function italic(text: string): string {
  return `\\fI${escaped(text)}\\fR`;
}

/** Text in which `code`, options, and pages such as ssh(1) are bold; lines of the source, which is filled. */
export function prose(text: string): string[] {
  const parts = text.split(/(`[^`]+`|(?<![\w-])--[a-z][a-z0-9-]*|\b[a-z][\w.-]*\([1-8]\))/);
  const line = parts.map((part, index) => {
    if (index % 2 === 0) return escapedPart(part);
    const [, page, sectionNumber] = /^([\w.-]+)(\(\d\))$/.exec(part) ?? [];
    return page === undefined ? bold(part.replaceAll("`", "")) : `${bold(page)}${sectionNumber}`;
  }).join("");
  return wrapped(line).map(notAMacro);
}

/** Breaks a line of the source between words, for people who read that. */
function wrapped(text: string): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) as string;
    if (line !== "" && line.length + word.length >= SOURCE_WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines;
}

/** Paragraphs that blank lines divide; indented ones stay as they are. */
export function paragraphs(text: string): string[] {
  return text.split(/\n{2,}/).flatMap((paragraph, index) => [
    ...index === 0 ? [] : [".PP"],
    ...paragraph.startsWith(" ")
      ? verbatim(paragraph.split("\n").map((line) => line.trim()))
      : prose(paragraph),
  ]);
}

/** Lines that are not filled. */
export function verbatim(lines: readonly string[]): string[] {
  return [".RS 4", ".EX", ...lines.map(escaped), ".EE", ".RE"];
}

/** A heading and what stands below it; nothing when that is nothing. */
export function section(heading: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`.SH ${/[^A-Z]/.test(heading) ? `"${heading}"` : heading}`, ...lines];
}

/** A term, already escaped, and below it what it means. */
export function item(term: string, meaning: string): string[] {
  return [".TP", term, ...prose(meaning)];
}
