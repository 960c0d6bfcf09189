/** Who signs the executables of this build. */

/** Put in place by the bundler (scripts/build.ts); there is none when the source is run. */
declare const AMESH_TEAM_ID: string;

/** Apple's id of the team, ten capital letters and digits; empty in a build that nobody signs. */
export const TEAM_ID: string = typeof AMESH_TEAM_ID === "string" ? AMESH_TEAM_ID : "";

/** Form of a {@linkcode TEAM_ID} that is not empty. */
export const TEAM_ID_FORM = /^[A-Z0-9]{10}$/;
