// What scripts may ask of the server, from its own description, /openapi.json.

import { get } from "./api.js";
import { h } from "./dom.js";

/** What a value may be, in words; `all` are the schemas that others name. */
function kindOf(schema, all) {
  const found = all[schema.$ref?.split("/").pop()] ?? schema;
  const several = found.anyOf ?? found.oneOf;
  if (several) return several.map((one) => kindOf(one, all)).join(" or ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((one) => JSON.stringify(one)).join(", ");
  if (found.type === "array") return `list of ${kindOf(found.items ?? {}, all)}`;
  return found.type ?? "any";
}

function row(name, schema, needed, all) {
  const given = schema.default === undefined || schema.default === null ? "" : JSON.stringify(schema.default);
  return h("tr", {}, h("th", { scope: "row" }, h("code", {}, name)), h("td", {}, kindOf(schema, all)),
    h("td", {}, needed ? "needed" : given), h("td", {}, schema.description ?? ""));
}

const table = (caption, rows) => (rows.length
  ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, h("table", {},
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ["name", "what", "default", "meaning"].map((word) => h("th", { scope: "col" }, word)))),
    h("tbody", {}, rows)))
  : null);

/** A table for each kind of JSON that may be sent. */
function bodies(path, content, all) {
  const schema = content?.["application/json"]?.schema;
  if (!schema) return [];
  return (schema.oneOf ?? [schema]).map((one) => {
    const found = all[one.$ref?.split("/").pop()] ?? one;
    const rows = Object.entries(found.properties ?? {})
      .map(([name, value]) => row(name, value, (found.required ?? []).includes(name), all));
    return table(`JSON for ${path}: ${found.title}`, rows);
  });
}

export async function interfacePage() {
  const { paths, components, info } = await get("/openapi.json");
  const all = components?.schemas ?? {};
  const made = [h("h1", {}, "For scripts"),
    h("p", {}, "What these pages do is JSON over HTTP. Send the token that ptychopinn serve printed in a header; ",
      "a mistake is {\"error\": \"one sentence\"}. For tools that read it: ",
      h("a", { href: "openapi.json" }, "openapi.json"), ` of version ${info.version}.`),
    h("pre", { class: "command", tabindex: 0 }, `curl -H "Authorization: Bearer $TOKEN" ${location.origin}/api/runs`)];
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, about] of Object.entries(methods)) {
      const name = `${method.toUpperCase()} ${path}`;
      made.push(h("h2", {}, h("code", {}, name)), h("p", {}, (about.description ?? "").replaceAll("``", "")));
      made.push(table(`Parameters of ${name}`,
        (about.parameters ?? []).map((one) => row(one.name, { ...one.schema, description: one.description }, one.required, all))));
      made.push(...bodies(name, about.requestBody?.content, all));
    }
  }
  return made;
}
