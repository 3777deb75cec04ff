// What answers: here the service. A page that `fracture export --format web` writes has the device in its place.

export { Service } from "./api.js";
