//! `manifests`: Kubernetes objects, in files beside the scenario or in it.

use deserr::{Deserr, IntoValue, Map, Value, ValuePointerRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

use super::locate::{Locate, locate};
use super::problem::Problems;
use super::value::{Label, Spanned};
use crate::scenario::tree::{Kind, Node};

/// By this field a file is told from an object.
const FILE: &str = "file";

/// A file with objects, or an object.
#[derive(Clone, PartialEq, Debug)]
pub enum ManifestItem {
    /// The name of a file beside the scenario.
    File(Spanned<String>),
    /// A file as `kubectl --namespace` applies it.
    Applied(AppliedFile),
    /// An object as it stands here.
    Inline(InlineManifest),
}

/// A file of objects for one namespace.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct AppliedFile {
    /// Its name, beside the scenario.
    pub file: Spanned<String>,
    /// The namespace of the objects that do not name theirs (`kubectl --namespace`).
    pub namespace: Spanned<Label>,
}

locate!(AppliedFile { file = "file", namespace = "namespace"; });

/// An object that stands in the scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct InlineManifest(pub(in crate::scenario) Node);

/// The object itself comes with its place: [`Locate`].
impl Deserr<Problems> for ManifestItem {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::String(value) => Ok(ManifestItem::File(Spanned { value, span: 0..0 })),
            Value::Map(mut map) => match map.remove(FILE) {
                Some(_) => AppliedFile::deserialize_from_value(Value::<V>::Map(map), at).map(ManifestItem::Applied),
                None => Ok(ManifestItem::Inline(InlineManifest(Node { span: 0..0, kind: Kind::Null, plain: false }))),
            },
            other => Err(Problems::wrong_kind(at, &other, "the name of a file or an object")),
        }
    }
}

impl Locate for ManifestItem {
    fn locate(&mut self, node: &Node) {
        match self {
            ManifestItem::File(name) => name.locate(node),
            ManifestItem::Applied(file) => file.locate(node),
            ManifestItem::Inline(object) => object.0 = node.clone(),
        }
    }
}

impl JsonSchema for ManifestItem {
    fn schema_name() -> Cow<'static, str> {
        "Manifest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a file with Kubernetes objects beside the scenario, such a file for one \
                            namespace, or an object.",
            "anyOf": [{"type": "string"}, generator.subschema_for::<AppliedFile>(), {"type": "object"}]
        })
    }
}
