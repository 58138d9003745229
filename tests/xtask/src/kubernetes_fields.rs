//! The table of the fields that Kubernetes knows, from the JSON schemas of the crate k8s-openapi, which are made from
//! Kubernetes' OpenAPI document.

use anyhow::{Context, ensure};
use k8s_openapi::api::{apps, core, discovery, networking};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Where the table is.
const TABLE: &str = "sim-core/src/scenario/manifest/fields.txt";
/// The version of Kubernetes that the workspace's features of k8s-openapi choose.
const KUBERNETES: &str = "1.37";
/// Lines of the table are broken here.
const MAX_COLUMNS: usize = 120;

/// What may stand in front of a type's name.
const PREFIXES: [&str; 3] = ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s.apimachinery.pkg."];

/// Writes the table.
pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    let types = types()?;
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let mut text = format!(
        "# The fields of Kubernetes' objects and their types: Kubernetes {KUBERNETES}, k8s-openapi {}.\n\
         # Made by `cargo xtask kubernetes-fields`.\n\
         #\n\
         # A type at the start of a line, then its fields. [T] is a list, {{T}} a map by strings.\n",
        version(&lock, "k8s-openapi").context("Cargo.lock has no k8s-openapi")?
    );
    for (name, fields) in &types {
        print(&mut text, name, fields);
    }
    let to = root.join(TABLE);
    fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
    println!("{} types in {TABLE}", types.len());
    Ok(())
}

/// All types that the kinds below lead to: their names, and their fields with types.
fn types() -> anyhow::Result<BTreeMap<String, Vec<(String, String)>>> {
    let mut generator = SchemaGenerator::default();
    add::<core::v1::ConfigMap>(&mut generator);
    add::<core::v1::Endpoints>(&mut generator);
    add::<core::v1::Namespace>(&mut generator);
    add::<core::v1::Node>(&mut generator);
    add::<core::v1::Pod>(&mut generator);
    add::<core::v1::Service>(&mut generator);
    add::<apps::v1::DaemonSet>(&mut generator);
    add::<apps::v1::Deployment>(&mut generator);
    add::<discovery::v1::EndpointSlice>(&mut generator);
    add::<networking::v1::IPAddress>(&mut generator);
    let definitions = generator.definitions();
    let mut types = BTreeMap::new();
    for (name, schema) in definitions {
        let Some(Value::Object(properties)) = schema.get("properties") else { continue };
        let fields = properties.iter().map(|(field, schema)| Ok((field.clone(), type_of(schema, definitions)?)));
        let mut fields = fields.collect::<anyhow::Result<Vec<_>>>().with_context(|| name.clone())?;
        fields.sort();
        types.insert(short(name).to_owned(), fields);
    }
    Ok(types)
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// A type as the table writes it.
fn type_of(schema: &Value, definitions: &serde_json::Map<String, Value>) -> anyhow::Result<String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        let definition = definitions.get(name).with_context(|| format!("{name} is not defined"))?;
        // A quantity is a number or a string too, and written with a fraction.
        return match (name.ends_with(".Quantity"), definition.get("properties")) {
            (true, _) => Ok("quantity".to_owned()),
            (false, Some(_)) => Ok(short(name).to_owned()),
            (false, None) => type_of(definition, definitions),
        };
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return Ok("int-or-string".to_owned());
    }
    let of = |key: &str| schema.get(key).map(|inner| type_of(inner, definitions)).transpose();
    let name = schema.get("type").and_then(Value::as_str);
    Ok(match (name, schema.get("format").and_then(Value::as_str)) {
        (Some("array"), _) => format!("[{}]", of("items")?.context("a list without items")?),
        (Some("object"), _) => of("additionalProperties")?.map_or("any".to_owned(), |inner| format!("{{{inner}}}")),
        (Some("integer"), Some(size @ ("int32" | "int64"))) => size.to_owned(),
        (Some(simple @ ("string" | "boolean" | "number")), _) => simple.to_owned(),
        (name, format) => {
            ensure!(name.is_none() && format.is_none(), "a type that is not known: {schema}");
            "any".to_owned()
        }
    })
}

fn short(name: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

fn print(text: &mut String, name: &str, fields: &[(String, String)]) {
    text.push_str(name);
    let mut column = name.len();
    for (field, of) in fields {
        let word = format!("{field}:{of}");
        if column + 1 + word.len() > MAX_COLUMNS {
            text.push_str("\n ");
            column = 1;
        }
        let _ = write!(text, " {word}");
        column += 1 + word.len();
    }
    text.push('\n');
}

/// The version of a package in a lock file.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"\n")))?;
    entry.lines().find_map(|line| line.strip_prefix("version = ")).map(|version| version.trim_matches('"'))
}
