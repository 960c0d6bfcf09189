/** Reads the JUnit reports that `deno test` and `bun test` write. */

/** What a report says. */
export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  /** The names of the skipped tests. */
  readonly skipped: readonly string[];
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

/** Counts the test cases of a report; an empty or broken one has none. */
export function countTests(xml: string): TestCounts {
  const skipped: string[] = [];
  let passed = 0;
  let failed = 0;
  for (
    const [, name = "", body = ""] of xml.matchAll(
      /<testcase name="([^"]*)"[^>]*?(?:\/>|>(.*?)<\/testcase>)/gs,
    )
  ) {
    if (/<(failure|error)[ >]/.test(body)) failed++;
    else if (body.includes("<skipped")) skipped.push(unescapeXml(name));
    else passed++;
  }
  return { passed, failed, skipped };
}

function unescapeXml(text: string): string {
  return text.replaceAll(/&(\w+);/g, (entity, name) => ENTITIES[name] ?? entity);
}
