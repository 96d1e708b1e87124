// Holds objects of KEDA, cert-manager and other projects against the models of their kinds: an array of them on standard
// input, a line for each thing that does not fit on standard output.
//
// The models say what must be there and of which type. They bear unknown fields, which a server drops without a word; so
// each name is looked for among all that the package declares as well.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const modules = path.join(path.resolve(process.argv[2]), "node_modules");
const packages = {
    "keda.sh": ["@kubernetes-models/keda", "kubernetes-models/autoscaling/v2"],
    "cert-manager.io": ["@kubernetes-models/cert-manager"],
    "monitoring.coreos.com": ["@kubernetes-models/prometheus-operator"],
    "external-secrets.io": ["@kubernetes-models/external-secrets"],
};
// Below these, names are the user's.
const free = new Set(["labels", "annotations", "matchLabels", "metadata", "params"]);

const declared = {};
function declares(folder, name) {
    declared[folder] ??= readdirSync(path.join(modules, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.name.endsWith(".d.ts"))
        .map((entry) => readFileSync(path.join(entry.parentPath ?? entry.path, entry.name), "utf8"))
        .join("\n");
    return new RegExp(`^\\s*"?${name}"?\\??:`, "m").test(declared[folder]);
}

function names(value, found) {
    if (Array.isArray(value)) {
        value.forEach((item) => names(item, found));
    } else if (value && typeof value === "object") {
        for (const [name, child] of Object.entries(value)) {
            found.add(name);
            if (!free.has(name)) names(child, found);
        }
    }
    return found;
}

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
    const [group, version] = object.apiVersion.split("/");
    const called = `${object.kind} ${object.metadata.namespace ?? "-"}/${object.metadata.name}`;
    try {
        const folders = packages[group];
        const file = path.join(modules, folders[0], group, version, `${object.kind}.js`);
        const model = (await import(pathToFileURL(file)))[object.kind];
        new model(object).validate();
        for (const name of names(object.spec, new Set())) {
            if (![...folders, "@kubernetes-models/apimachinery"].some((folder) => declares(folder, name))) console.log(`${called}: no field ${name}`);
        }
    } catch (error) {
        console.log(`${called}: ${error.message.replaceAll("\n", " ")}`);
    }
}
