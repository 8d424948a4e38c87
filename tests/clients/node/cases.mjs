// What the scripts share: each case of a client gives a value, and all of them are printed as one line of JSON.

export const url = process.env.HYDRA_URL;

export const said = (text) => [{ role: "user", content: text }];

export async function tell(cases) {
  const found = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      found[name] = await run();
    } catch (error) {
      found[name] = { failed: String(error.stack ?? error) };
    }
  }
  console.log(JSON.stringify(found));
}
