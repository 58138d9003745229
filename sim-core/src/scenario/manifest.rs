//! Kubernetes manifests, as people write them and as `kubectl get -o yaml` prints them, to objects as the API server
//! stores them.
//!
//! ```text
//! file --tree::read_documents--> documents --schema::check--> known fields of the right kinds
//!      --reader, meta, pod, …--> Objects: defaults filled in, values checked in the API server's words
//! ```
//!
//! Fields are of three classes. What a kind's reader asks for is **used**. What is there besides and Kubernetes knows
//! (`fields.txt`, `istio.txt`) is **without effect** here: it is accepted and can be named. All else is an **error**.
//!
//! The order of Kubernetes is kept: types first (decoding), then defaults (pkg/apis/*/v1/defaults.go), then validation
//! (pkg/apis/*/validation), of version 1.30; the fields that are known are those of a newer one, which has them all.
//! Nothing is checked that needs a second object: that is the control plane's, whose errors point into the file by
//! [`Manifest::span`].

use std::ops::Range;

use self::names::go_string;
use self::reader::{Field, Reader};
use super::diag::{Diagnostic, Diagnostics, SourceFile, nearest, quote};
use super::tree::{self, Kind, Node};
use crate::cluster::object::{Object, OwnerReference};

mod endpoints;
mod ip_address;
mod istio;
mod meta;
mod names;
mod node;
mod pod;
mod probe;
mod reader;
mod schema;
mod service;
mod workload;

/// The most objects that all manifests of a scenario hold together.
pub const MAX_OBJECTS: usize = 10_000;

/// What manifests hold.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// In the order of the files.
    pub objects: Vec<Manifest>,
    /// Objects of kinds that are not simulated, which another object has made: what they do is done by that one.
    pub passed_over: Vec<PassedOver>,
    /// It was said that there are more than [`MAX_OBJECTS`].
    is_over: bool,
}

/// An object and the document that it was read from.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The object.
    pub object: Object,
    /// Paths of fields that Kubernetes knows and that have no effect here, in the order of the file.
    pub without_effect: Vec<String>,
    source: SourceFile,
    document: Node,
}

/// An object that is not simulated, and need not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PassedOver {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What has made it.
    pub owner: OwnerReference,
}

/// Reads the documents of a file.
///
/// # Errors
/// All that is wrong with any of them.
pub fn read(source: &SourceFile) -> Result<Manifests, Diagnostics> {
    let mut errors = Diagnostics::default();
    let mut manifests = Manifests::default();
    manifests.add_file(source, None, &mut errors);
    if errors.is_empty() { Ok(manifests) } else { Err(errors) }
}

impl Manifests {
    /// Adds the objects of a file; those that name no namespace are in `namespace`, or in `default`. What is wrong with
    /// it is added to `errors`.
    pub(super) fn add_file(&mut self, source: &SourceFile, namespace: Option<&str>, errors: &mut Diagnostics) {
        if let Err(error) = source.check_size() {
            return errors.push(error);
        }
        for document in tree::read_documents(source, errors) {
            self.add(source, document, namespace, errors);
        }
    }

    /// Adds the objects of a document: of a file, or of a scenario's own text. An empty one has none.
    pub(super) fn add(
        &mut self,
        source: &SourceFile,
        document: Node,
        namespace: Option<&str>,
        errors: &mut Diagnostics,
    ) {
        Documents { manifests: self, source, namespace, errors }.add(document, None);
    }
}

impl Manifest {
    /// The file that it stands in.
    pub fn source(&self) -> &SourceFile {
        &self.source
    }

    /// The place of the field at a path as the API server writes it (`spec.ports[0].nodePort`,
    /// `metadata.labels[app.kubernetes.io/name]`); of what it is missing in, if it is not there.
    pub fn span(&self, path: &str) -> Range<usize> {
        let mut field = Field::root(&self.document);
        let mut rest = path;
        while !rest.is_empty() {
            let step;
            if let Some(inner) = rest.strip_prefix('[') {
                (step, rest) = inner.split_once(']').unwrap_or((inner, ""));
            } else {
                let name = rest.strip_prefix('.').unwrap_or(rest);
                (step, rest) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
            }
            let item = step.parse().ok().and_then(|index: usize| field.items().into_iter().nth(index));
            field = item.unwrap_or_else(|| field.child(step));
        }
        field.place()
    }
}

/// A kind of object that is read.
struct Supported {
    /// The first is the one to write.
    api_versions: &'static [&'static str],
    kind: &'static str,
    /// Its type in the table of fields.
    of: &'static str,
    read: fn(&mut Reader<'_>, &Field<'_>) -> Object,
}

const SUPPORTED: [Supported; 12] = [
    Supported { api_versions: &["v1"], kind: "Namespace", of: "core.v1.Namespace", read: meta::namespace },
    Supported { api_versions: &["v1"], kind: "Node", of: "core.v1.Node", read: node::node },
    Supported { api_versions: &["v1"], kind: "Pod", of: "core.v1.Pod", read: pod::pod },
    Supported { api_versions: &["apps/v1"], kind: "Deployment", of: "apps.v1.Deployment", read: workload::deployment },
    Supported { api_versions: &["apps/v1"], kind: "DaemonSet", of: "apps.v1.DaemonSet", read: workload::daemon_set },
    Supported { api_versions: &["v1"], kind: "Service", of: "core.v1.Service", read: service::service },
    Supported { api_versions: &["v1"], kind: "Endpoints", of: "core.v1.Endpoints", read: endpoints::endpoints },
    Supported {
        api_versions: &["discovery.k8s.io/v1"],
        kind: "EndpointSlice",
        of: "discovery.v1.EndpointSlice",
        read: endpoints::endpoint_slice,
    },
    Supported {
        api_versions: &["networking.k8s.io/v1"],
        kind: "IPAddress",
        of: "networking.v1.IPAddress",
        read: ip_address::ip_address,
    },
    Supported { api_versions: &["v1"], kind: "ConfigMap", of: "core.v1.ConfigMap", read: meta::config_map },
    Supported {
        api_versions: &["security.istio.io/v1beta1", "security.istio.io/v1"],
        kind: "PeerAuthentication",
        of: "istio.PeerAuthentication",
        read: istio::peer_authentication,
    },
    Supported {
        api_versions: &["networking.istio.io/v1beta1", "networking.istio.io/v1alpha3", "networking.istio.io/v1"],
        kind: "DestinationRule",
        of: "istio.DestinationRule",
        read: istio::destination_rule,
    },
];

/// Documents on their way to objects.
struct Documents<'a> {
    manifests: &'a mut Manifests,
    source: &'a SourceFile,
    /// `kubectl --namespace`
    namespace: Option<&'a str>,
    errors: &'a mut Diagnostics,
}

impl Documents<'_> {
    /// Adds a document. An item of a list of one kind need not say which it is.
    fn add(&mut self, document: Node, of_list: Option<&Supported>) {
        if document.kind == Kind::Null || self.errors.is_full() {
            return;
        }
        let root = Field::root(&document);
        if !matches!(document.kind, Kind::Map(_)) {
            return self.error(&document.span, "a manifest is a map", Some("it begins with `apiVersion:` and `kind:`"));
        }
        let (api_version, kind) = (root.child("apiVersion"), root.child("kind"));
        if let (Some(supported), None, None) = (of_list, api_version.node, kind.node) {
            return self.object(document, supported);
        }
        let missing = [("apiVersion", &api_version), ("kind", &kind)].into_iter().filter(|(_, f)| f.text().is_none());
        let missing: Vec<_> = missing.map(|(name, field)| (name, field.place())).collect();
        for (name, place) in &missing {
            let hint = "a manifest begins with `apiVersion:` and `kind:`";
            self.error(place, &format!("Object '{name}' is missing"), Some(hint));
        }
        let (Some(api_version), Some(kind)) = (api_version.text(), kind.text()) else { return };
        let item_kind = kind.strip_suffix("List").unwrap_or("");
        if (api_version, kind) == ("v1", "List") {
            self.list(document, None);
        } else if let Some(of_list) = find(api_version, item_kind) {
            self.list(document, Some(of_list));
        } else if let Some(supported) = find(api_version, kind) {
            self.object(document, supported);
        } else {
            self.other(&root, api_version, kind);
        }
    }

    /// Adds the items of a list.
    fn list(&mut self, mut document: Node, of_list: Option<&Supported>) {
        let Kind::Map(entries) = &mut document.kind else { return };
        for entry in entries {
            match (entry.key.as_str(), &mut entry.value.kind) {
                ("items", Kind::List(items)) => {
                    for item in std::mem::take(items) {
                        self.add(item, of_list);
                    }
                }
                ("items", Kind::Null) | ("apiVersion" | "kind" | "metadata", _) => {}
                ("items", _) => self.error(&entry.value.span, "`items` must be a list", None),
                (other, _) => {
                    let hint = "a list has `apiVersion`, `items`, `kind`, `metadata`";
                    self.error(&entry.key_span, &format!("unknown field {}", go_string(other)), Some(hint));
                }
            }
        }
    }

    /// There is room for one more object; the first that has none is an error.
    fn has_room(&mut self, place: &Range<usize>) -> bool {
        let has_room = self.manifests.objects.len() + self.manifests.passed_over.len() < MAX_OBJECTS;
        if !has_room && !std::mem::replace(&mut self.manifests.is_over, true) {
            let message = format!("the manifests hold more than {MAX_OBJECTS} objects (MAX_OBJECTS)");
            self.error(place, &message, None);
        }
        has_room
    }

    /// Adds an object.
    fn object(&mut self, document: Node, supported: &Supported) {
        if !self.has_room(&document.span) {
            return;
        }
        let root = Field::root(&document);
        let mut reader = Reader::new(self.source, self.namespace, self.errors);
        for name in ["apiVersion", "kind"] {
            reader.note(&root.child(name));
        }
        schema::check(supported.of, &root, &mut reader);
        let object = (supported.read)(&mut reader, &root);
        let without_effect = reader.without_effect(&root);
        self.manifests.objects.push(Manifest { object, without_effect, source: self.source.clone(), document });
    }

    /// An object of a kind that is not simulated: passed over if another one has made it.
    fn other(&mut self, root: &Field<'_>, api_version: &str, kind: &str) {
        let metadata = root.child("metadata");
        let owner = meta::owner(&metadata.child("ownerReferences"));
        let known = SUPPORTED.iter().find(|s| s.kind == kind);
        if let (Some(owner), None) = (owner, known) {
            if !self.has_room(&root.place()) {
                return;
            }
            let name = metadata.child("name").text().unwrap_or_default().to_owned();
            return self.manifests.passed_over.push(PassedOver { kind: kind.to_owned(), name, owner });
        }
        let kinds = || SUPPORTED.iter().map(|s| s.kind);
        let near = kinds().find(|known| known.eq_ignore_ascii_case(kind)).or_else(|| nearest(kind, kinds()));
        let (field, hint) = match (known, near) {
            (Some(known), _) => ("apiVersion", format!("write `apiVersion: {}`", known.api_versions[0])),
            (None, Some(near)) => ("kind", format!("did you mean {}?", quote(near))),
            (None, None) => {
                let kinds: Vec<_> = kinds().map(quote).collect();
                ("kind", format!("the kinds that are simulated are {}", kinds.join(", ")))
            }
        };
        let message = match (known, near) {
            (None, None) => {
                format!("the kind {} in version {} is not simulated", go_string(kind), go_string(api_version))
            }
            _ => format!("no matches for kind {} in version {}", go_string(kind), go_string(api_version)),
        };
        self.error(&root.child(field).place(), &message, Some(&hint));
    }

    fn error(&mut self, place: &Range<usize>, message: &str, hint: Option<&str>) {
        if self.errors.is_full() {
            return;
        }
        let error = Diagnostic::new(self.source, place.clone(), message);
        self.errors.push(match hint {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }
}

fn find(api_version: &str, kind: &str) -> Option<&'static Supported> {
    SUPPORTED.iter().find(|s| s.kind == kind && s.api_versions.contains(&api_version))
}

#[cfg(test)]
mod tests;
