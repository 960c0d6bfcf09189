/** Entry point of every build. */
import { start } from "./src/cli/start.ts";

await start();
