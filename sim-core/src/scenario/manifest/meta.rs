//! `metadata`, labels and selectors, and the kinds that are little more: Namespace and ConfigMap
//! (staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go, pkg/apis/meta/v1/validation).

use super::names;
use super::reader::{Field, Reader};
use super::schema::{Scalar, scalar};
use crate::cluster::object::{ConfigMap, Labels, Meta, Object, Operator, OwnerReference, Requirement, Selector};
use crate::scenario::tree::{Kind, Node};

/// The namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";
/// The longest annotations of an object, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;
/// The longest data of a ConfigMap, in bytes (MaxSecretSize).
const MAX_DATA: usize = 1024 * 1024;

/// Where an object lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Cluster,
    Namespace,
}

/// Reads a Namespace.
pub(super) fn namespace(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    Object::Namespace(meta(reader, root, Scope::Cluster, names::dns1123_label))
}

/// Reads a ConfigMap.
pub(super) fn config_map(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let meta = meta(reader, root, Scope::Namespace, names::dns1123_subdomain);
    let field = root.child("data");
    reader.note(&field);
    for (entry, field) in field.entries() {
        reader.check(&field, names::go_string(&entry.key), names::config_map_key(&entry.key));
    }
    let data = strings(&field);
    if data.values().map(String::len).sum::<usize>() > MAX_DATA {
        let message = format!("[]: Too long: must have at most {MAX_DATA} bytes");
        reader.error(field.key(), message, None);
    }
    Object::ConfigMap(ConfigMap { meta, data })
}

/// Reads the `metadata` of an object, whose name keeps a rule.
pub(super) fn meta(reader: &mut Reader<'_>, root: &Field<'_>, scope: Scope, rule: fn(&str) -> Vec<String>) -> Meta {
    let field = root.child("metadata");
    let (name, namespace) = (field.child("name"), field.child("namespace"));
    if reader.named(&name, rule).is_none() {
        reader.required(&name, "name or generateName is required");
    }
    let named = reader.named(&namespace, names::dns1123_label).map(str::to_owned);
    if scope == Scope::Cluster && named.is_some() {
        reader.forbidden(&namespace, "not allowed on this type");
    }
    let other = reader.namespace.filter(|given| Some(*given) != named.as_deref());
    if let (Scope::Namespace, Some(own), Some(given)) = (scope, &named, other) {
        let message = format!(
            "the namespace from the provided object \"{own}\" does not match the namespace \"{given}\". You must pass \
             '--namespace={own}' to perform this operation."
        );
        reader.error(namespace.place(), message, None);
    }
    let namespace = match scope {
        Scope::Cluster => String::new(),
        Scope::Namespace => named.unwrap_or_else(|| reader.namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned()),
    };
    let owners = field.child("ownerReferences");
    reader.note(&owners);
    Meta {
        name: name.text().unwrap_or_default().to_owned(),
        namespace,
        owner: owner(&owners),
        ..described(reader, &field)
    }
}

/// Reads the `metadata` of a template, whose name and namespace are its pods' own.
pub(super) fn template_meta(reader: &mut Reader<'_>, template: &Field<'_>) -> Meta {
    described(reader, &template.child("metadata"))
}

/// The one of `ownerReferences` that is the controller.
pub(super) fn owner(references: &Field<'_>) -> Option<OwnerReference> {
    let is_controller =
        |item: &Field<'_>| matches!(item.child("controller").node.map(scalar), Some(Scalar::Boolean(true)));
    let reference = references.items().into_iter().find(is_controller)?;
    let text = |name: &str| reference.child(name).text().map(str::to_owned);
    Some(OwnerReference { kind: text("kind")?, name: text("name")? })
}

/// Labels: keys and values have a form.
pub(super) fn labels(reader: &mut Reader<'_>, field: &Field<'_>) -> Labels {
    reader.note(field);
    let labels = strings(field);
    for (entry, at) in field.entries() {
        // The API server names the map.
        let at = at.called(&field.path);
        reader.check(&at, names::go_string(&entry.key), names::qualified_name(&entry.key));
        let value = at.text().unwrap_or_default();
        reader.check(&at, names::go_string(value), names::label_value(value));
    }
    labels
}

/// Reads a LabelSelector.
pub(super) fn selector(reader: &mut Reader<'_>, field: &Field<'_>) -> Selector {
    reader.note(field);
    let expressions = field.child("matchExpressions");
    Selector {
        labels: labels(reader, &field.child("matchLabels")),
        expressions: expressions.items().iter().filter_map(|item| requirement(reader, item)).collect(),
    }
}

fn requirement(reader: &mut Reader<'_>, item: &Field<'_>) -> Option<Requirement> {
    let (operator, list) = (item.child("operator"), item.child("values"));
    let values = reader.strings(&list);
    let word = operator.text().unwrap_or_default();
    match (word, values.is_empty()) {
        ("In" | "NotIn", true) => {
            reader.required(&list, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        ("Exists" | "DoesNotExist", false) => {
            reader.forbidden(&list, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
        _ => reader.invalid(&operator, names::go_string(word), "not a valid selector operator"),
    }
    let key = item.child("key");
    let name = key.text().unwrap_or_default();
    reader.check(&key, names::go_string(name), names::qualified_name(name));
    for (value, at) in values.iter().zip(list.items()) {
        reader.check(&at, names::go_string(value), names::label_value(value));
    }
    let operator = match word {
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    Some(Requirement { key: name.to_owned(), operator })
}

/// Labels and annotations.
fn described(reader: &mut Reader<'_>, field: &Field<'_>) -> Meta {
    let labels = labels(reader, &field.child("labels"));
    let annotations = field.child("annotations");
    reader.note(&annotations);
    for (entry, at) in annotations.entries() {
        let at = at.called(&annotations.path);
        reader.check(&at, names::go_string(&entry.key), names::qualified_name(&entry.key.to_lowercase()));
    }
    let map = strings(&annotations);
    if map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_ANNOTATIONS {
        reader.report(&annotations, format!("Too long: must have at most {MAX_ANNOTATIONS} bytes"), None);
    }
    Meta { labels, annotations: map, ..Meta::default() }
}

/// A map of strings. A value that is null is empty.
fn strings(field: &Field<'_>) -> Labels {
    let text = |node: Option<&Node>| match node.map(|node| &node.kind) {
        Some(Kind::String(text)) => text.clone(),
        _ => String::new(),
    };
    field.entries().iter().map(|(entry, field)| (entry.key.clone(), text(field.node))).collect()
}
