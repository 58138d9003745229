//! `manifests`: Kubernetes objects, in files beside the scenario or in it.

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

use super::locate::Locate;
use super::problem::Problems;
use super::value::Spanned;
use crate::scenario::tree::{Kind, Node};

/// A file with objects, or an object.
#[derive(Clone, PartialEq, Debug)]
pub enum ManifestItem {
    /// The name of a file beside the scenario.
    File(Spanned<String>),
    /// An object as it stands here.
    Inline(InlineManifest),
}

/// An object that stands in the scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct InlineManifest(pub(in crate::scenario) Node);

/// The object itself comes with its place: [`Locate`].
impl Deserr<Problems> for ManifestItem {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::String(value) => Ok(ManifestItem::File(Spanned { value, span: 0..0 })),
            Value::Map(_) => {
                Ok(ManifestItem::Inline(InlineManifest(Node { span: 0..0, kind: Kind::Null, plain: false })))
            }
            other => Err(Problems::wrong_kind(at, &other, "the name of a file or an object")),
        }
    }
}

impl Locate for ManifestItem {
    fn locate(&mut self, node: &Node) {
        match self {
            ManifestItem::File(name) => name.locate(node),
            ManifestItem::Inline(object) => object.0 = node.clone(),
        }
    }
}

impl JsonSchema for ManifestItem {
    fn schema_name() -> Cow<'static, str> {
        "Manifest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a file with Kubernetes objects beside the scenario, or an object.",
            "anyOf": [{"type": "string"}, {"type": "object"}]
        })
    }
}
