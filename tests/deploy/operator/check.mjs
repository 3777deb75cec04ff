// Reads objects of the Prometheus operator as JSON lines, and says of each whether the operator's schema takes it.

import { readFileSync } from "node:fs";
import * as objects from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index";

const { default: named = {}, ...others } = objects;
const classes = { ...named, ...others };
for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const document = JSON.parse(line);
  try {
    new classes[document.kind](document).validate();
    console.log(`${document.kind} ok`);
  } catch (error) {
    console.log(`${document.kind} ${error.message}`);
    process.exitCode = 1;
  }
}
