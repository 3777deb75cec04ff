// Shows openapi.json to a person: whatever paths, parameters, bodies, answers and schemas it holds.

import { byId, element, facts, refill } from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];

show();

async function show() {
  const main = byId("main");
  let description;
  try {
    const response = await fetch(new URL("openapi.json", document.baseURI));
    if (!response.ok) throw new Error(`status ${response.status}`);
    description = await response.json();
  } catch (error) {
    refill(main, element("p", { role: "alert" }, `The description cannot be loaded (${error.message}). Reload the page.`));
    return;
  }
  const find = (value) => resolve(description, value);
  const operations = Object.entries(description.paths ?? {}).flatMap(([path, item]) => METHODS
    .filter((method) => item[method])
    .map((method) => {
      const parameters = [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map(find);
      return { method, path, ...item[method], parameters };
    }));
  const schemas = Object.entries(description.components?.schemas ?? {});
  const { title = "Interface", version = "", summary = "", description: text = "", license } = description.info ?? {};
  byId("title").textContent = title;
  refill(main,
    element("p", { class: "lead" }, ...rich(summary)),
    element("p", {}, ...rich(text)),
    facts([["Version", version], ["Licence", license?.name], ["OpenAPI", description.openapi]]),
    keys(description, find),
    element("h2", {}, "Addresses"),
    operations.length === 0 && element("p", {}, "The description lists no endpoints."),
    ...operations.map((operation) => drawOperation(operation, find, description)),
    schemas.length > 0 && element("h2", {}, "Objects"),
    ...schemas.map(([name, schema]) => element("section", { class: "card", id: schemaId(name) },
      element("h3", {}, name), schema.description && element("p", {}, ...rich(schema.description)), properties(schema, find))),
  );
  const entries = operations.map(({ method, path }) => [operationId(method, path), `${method.toUpperCase()} ${path}`]);
  refill(byId("contents"), contents("Addresses", entries),
    schemas.length > 0 && contents("Objects", schemas.map(([name]) => [schemaId(name), name])));
  // The address may name a section that did not exist before.
  if (location.hash) byId(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

function contents(title, entries) {
  return element("div", {}, element("p", { class: "contents-title" }, title),
    element("ul", {}, ...entries.map(([id, words]) => element("li", {}, element("a", { href: `#${id}` }, words)))));
}

function keys({ components = {} }, find) {
  const schemes = Object.values(components.securitySchemes ?? {}).map(find);
  if (!schemes.length) return null;
  return element("section", { class: "card" }, element("h2", {}, "API key"),
    element("ul", { class: "plain-list" }, ...schemes.map((scheme) => element("li", {},
      element("code", {}, scheme.type === "http" ? `Authorization: ${capital(scheme.scheme)} KEY` : `${scheme.name}: KEY`),
      " ", ...rich(scheme.description ?? "")))));
}

function drawOperation(operation, find, whole) {
  const { method, path, summary, description: text, parameters, requestBody, responses = {}, security } = operation;
  const name = `${method.toUpperCase()} ${path}`;
  const body = find(requestBody);
  const answers = Object.entries(responses).map(([status, response]) => [status, find(response)]);
  const good = answers.filter(([status]) => status < "400");
  const bad = answers.filter(([status]) => status >= "400");
  const needsKey = (security ?? whole.security ?? []).length > 0;
  return element("section", { class: "card", id: operationId(method, path) },
    element("h3", { class: "route" }, element("span", { class: "method" }, method.toUpperCase()), " ", element("code", {}, path)),
    element("p", {}, ...rich(summary ?? "")),
    text && element("p", {}, ...rich(text)),
    needsKey && element("p", { class: "hint" }, "Needs an API key."),
    parameters.length > 0 && table("Parameters", ["Name", "In", "Type", "Meaning"], parameters.map((parameter) => [
      element("code", {}, parameter.name), parameter.in, words(parameter.schema, find),
      element("span", {}, parameter.required && "Required. ", ...rich(parameter.description ?? "")),
    ])),
    body && drawBody(body, find),
    element("p", { class: "label" }, "Example"),
    // Focusable, because a long line scrolls sideways.
    element("pre", { tabindex: 0, role: "group", "aria-label": `Example of ${name}` },
      element("code", {}, example(method, path, body, find))),
    good.length > 0 && table("Answer", ["Status", "Type", "Content"], good.map((entry) => answerRow(entry, find))),
    bad.length > 0 && element("details", {}, element("summary", {}, `Errors (${bad.map(([status]) => status).join(", ")})`),
      table("Errors", ["Status", "Type", "Codes"], bad.map((entry) => answerRow(entry, find)))),
  );
}

function drawBody(body, find) {
  const kinds = Object.entries(body.content ?? {});
  const form = kinds.map(([kind, { schema }]) => [kind, find(schema)]).find(([, schema]) => schema?.properties);
  return element("div", { class: "body" },
    element("p", { class: "label" }, `Body${body.required ? "" : " (optional)"}`),
    body.description && element("p", {}, ...rich(body.description)),
    element("p", {}, ...join(kinds.map(([kind]) => element("code", {}, kind)))),
    form && table("Fields of the form", ["Field", "Type"], Object.entries(form[1].properties).map(([name, schema]) => [
      element("code", {}, name), words(schema, find),
    ])));
}

function answerRow([status, response], find) {
  const kinds = Object.entries(response.content ?? {});
  const named = kinds.map(([, { schema }]) => schema).find((schema) => schema?.$ref);
  return [status, element("span", {}, ...join(kinds.map(([kind]) => element("code", {}, kind)))),
    element("span", {}, ...rich(response.description ?? ""), named && " ", named && words(named, find))];
}

// A curl command that asks this address.
function example(method, path, body, find) {
  const url = new URL(path.replace(/^\//, "").replaceAll("{", "%7B").replaceAll("}", "%7D"), document.baseURI).href
    .replaceAll("%7B", "{").replaceAll("%7D", "}");
  const parts = ["curl"];
  const form = find(body?.content?.["multipart/form-data"]?.schema)?.properties;
  if (form) parts.push(...Object.keys(form).map((field) => `-F ${field}=@image.png`));
  else if (body) parts.push("--data-binary @body");
  if (!form && method !== "get") parts.push(`-X ${method.toUpperCase()}`);
  return [...parts, url].join(" ");
}

// The properties of an object, nested ones below it.
function properties(schema, find) {
  const whole = find(schema);
  const entries = Object.entries(whole?.properties ?? {});
  if (!entries.length) return element("p", {}, words(whole, find));
  const needed = new Set(whole.required ?? []);
  return element("ul", { class: "properties" }, ...entries.map(([name, inner]) => {
    const own = inner.$ref ? null : inner.properties ? inner : inner.items?.properties ? inner.items : null;
    return element("li", {},
      element("code", {}, name), " ",
      element("span", { class: "hint" }, words(inner, find), !needed.has(name) && ", may be missing"),
      inner.description && element("span", {}, " ", ...rich(inner.description)),
      own && properties(own, find));
  }));
}

// A schema in words: "number from 0 to 1", "list of Prediction", a link for one that has a name.
function words(schema, find) {
  if (!schema) return "anything";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return element("a", { href: `#${schemaId(name)}` }, name);
  }
  const several = schema.allOf ?? schema.anyOf ?? schema.oneOf;
  if (several) return element("span", {}, ...join(several.map((one) => words(one, find)), schema.allOf ? " with " : " or "));
  if (schema.enum) return `one of ${schema.enum.map((value) => `“${value}”`).join(", ")}`;
  if (schema.const !== undefined) return `“${schema.const}”`;
  const types = [schema.type ?? "anything"].flat();
  if (types[0] === "array") {
    return element("span", {}, "list of ", words(schema.items, find), schema.maxItems && `, at most ${schema.maxItems}`);
  }
  const kind = schema.format === "binary" ? "file" : types.join(" or ");
  const { minimum: least, maximum: most } = schema;
  const range = [least !== undefined && ` from ${least}`, most !== undefined && ` to ${most}`].filter(Boolean).join("");
  return `${kind}${range}${schema.default !== undefined ? `, ${schema.default} unless given` : ""}`;
}

function table(title, head, rows) {
  return element("div", { class: "table", tabindex: 0, role: "group", "aria-label": title }, element("table", {},
    element("caption", {}, title),
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)))))));
}

// `code` between back ticks, the rest as it is.
function rich(text) {
  return text.split("`").map((part, number) => (number % 2 ? element("code", {}, part) : part));
}

function join(parts, separator = ", ") {
  return parts.flatMap((part, number) => (number ? [separator, part] : [part]));
}

function resolve(description, value) {
  if (!value?.$ref?.startsWith("#/")) return value;
  return value.$ref.slice(2).split("/").reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], description);
}

function operationId(method, path) {
  return `${method}-${path}`;
}

function schemaId(name) {
  return `object-${name}`;
}

function capital(word) {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
