//! What deserr cannot derive: maps whose keys are names, items of several forms, fields that exclude each other.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

use deserr::{Deserr, IntoValue, Map, Sequence, Value, ValuePointerRef};

use super::locate::Locate;
use super::problem::Problems;
use super::value::{MAX_NAME_LEN, Spanned};
use super::{
    ApplyFault, CaptureExpect, CommandExpect, CountersExpect, DeleteFault, EXIT_LIMIT, Expect, Fault, FdbExpect,
    JourneyExpect, LimitExpect, LinkFault, MAX_REPEATS, Namespace, Namespaces, NeighExpect, Run, Script, Sleep, Spec,
    Step, Texts,
};
use crate::scenario::diag::quote;
use crate::scenario::tree::Node;

impl Deserr<Problems> for Namespaces {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let map = match value {
            Value::Map(map) => map,
            other => return Err(Problems::wrong_kind(at, &other, "a map of names")),
        };
        if map.is_empty() {
            let hint = "write the name of a namespace and, for example, {setup: [\"ip link set lo up\"]}";
            return Err(Problems::bad(at, "there must be at least one namespace".to_owned(), Some(hint.to_owned())));
        }
        let mut problems = Problems::default();
        let mut namespaces = Vec::with_capacity(map.len());
        for (name, value) in map.into_iter() {
            match named(&name, value, at.push_key(&name), "a namespace", check_namespace) {
                Ok(body) => namespaces.push(Namespace { name: Spanned { value: name, span: 0..0 }, body }),
                Err(new) => {
                    if !problems.add(new) {
                        break;
                    }
                }
            }
        }
        if problems.is_empty() { Ok(Namespaces(namespaces)) } else { Err(problems) }
    }
}

/// A command that is repeated says how often and how soon.
pub(super) fn whole_repeat(run: Run, at: ValuePointerRef<'_>) -> Result<Run, Problems> {
    let bad = |key, message: String| Err(Problems::bad(at.push_key(key), message, None));
    match (&run.every, &run.count) {
        (Some(_), None) => Err(Problems::missing(at, &["count"], Some("`count: 5` is how often".to_owned()))),
        (None, Some(_)) => Err(Problems::missing(at, &["every"], Some("`every: 1s` is how soon".to_owned()))),
        (Some(every), _) if every.value.0 == 0 => bad("every", "this takes no time: all would be one".to_owned()),
        (_, Some(count)) if count.get() > MAX_REPEATS => {
            bad("count", format!("a command is started at most {MAX_REPEATS} times (MAX_REPEATS)"))
        }
        _ => Ok(run),
    }
}

/// There are namespaces or a cluster.
pub(super) fn something_to_run(spec: Spec, at: ValuePointerRef<'_>) -> Result<Spec, Problems> {
    if spec.namespaces.0.is_empty() && spec.cluster.is_none() {
        return Err(Problems::missing(at, &["namespaces", "cluster"], None));
    }
    Ok(spec)
}

/// An entry of a map of names; `what` has the name, `check` knows the rule for it. Without a value, all is left out.
pub(super) fn named<T: Deserr<Problems> + Default, V: IntoValue>(
    name: &str,
    value: V,
    at: ValuePointerRef<'_>,
    what: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<T, Problems> {
    let mut problems = Problems::default();
    if let Err(rule) = check(name) {
        problems.add(Problems::bad_key(at, format!("{} cannot be the name of {what}", quote(name)), rule));
    }
    let body = match value.into_value() {
        Value::Null => Ok(T::default()),
        value => T::deserialize_from_value(value, at),
    };
    match body {
        Ok(body) if problems.is_empty() => Ok(body),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.add(more);
            Err(problems)
        }
    }
}

/// Checks the name of a namespace, a machine or a socket; it may become part of file names; the rule if it breaks it.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let letter = |b: u8| b.is_ascii_alphanumeric();
    let fits = name.len() <= MAX_NAME_LEN
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b"-_.".contains(&b));
    let rule =
        format!("a name has 1 to {MAX_NAME_LEN} letters, digits, `-`, `_` and `.`, with a letter or digit first");
    if fits { Ok(()) } else { Err(rule) }
}

/// What the namespaces of pods begin with.
pub const POD: &str = "pod/";

/// Checks the name of a namespace: a pod's is `pod/NAMESPACE/NAME`.
fn check_namespace(name: &str) -> Result<(), String> {
    match name.strip_prefix(POD).and_then(|rest| rest.split_once('/')) {
        Some((namespace, pod)) => check_name(namespace).and_then(|()| check_name(pod)),
        None => check_name(name),
    }
}

impl Deserr<Problems> for Texts {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::Sequence(items) if items.is_empty() => Err(Problems::bad(
                at,
                "this list is empty".to_owned(),
                Some("name a text that must be printed".to_owned()),
            )),
            Value::Sequence(_) => Vec::deserialize_from_value(value, at).map(Texts),
            other => Spanned::deserialize_from_value(other, at).map(|text| Texts(vec![text])),
        }
    }
}

/// Items that have one of several forms: which, is told by a field that only this form has.
macro_rules! forms {
    ($item:ident: $($field:literal => $form:ident($body:ident)),+ $(,)?) => {
        impl $item {
            const FORMS: &'static [&'static str] = &[$($field),+];
        }

        impl Deserr<Problems> for $item {
            fn deserialize_from_value<V: IntoValue>(
                value: Value<V>,
                at: ValuePointerRef<'_>,
            ) -> Result<Self, Problems> {
                let mut map = match value {
                    Value::Map(map) => map,
                    other => return Err(Problems::wrong_kind(at, &other, "a map")),
                };
                let mut present = Self::FORMS.iter().copied().filter(|field| map.remove(field).is_some());
                let (first, second) = (present.next(), present.next());
                drop(present);
                match (first, second) {
                    $((Some($field), None) => {
                        $body::deserialize_from_value(Value::<V>::Map(map), at).map($item::$form)
                    })+
                    _ => Err(Problems::not_one(at, Self::FORMS)),
                }
            }
        }

        impl JsonSchema for $item {
            fn schema_name() -> Cow<'static, str> {
                stringify!($item).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                json_schema!({"oneOf": [$(generator.subschema_for::<$body>()),+]})
            }
        }

        impl Locate for $item {
            fn locate(&mut self, node: &Node) {
                match self {
                    $($item::$form(body) => body.locate(node),)+
                }
            }
        }
    };
}

forms!(Step: "run" => Run(Run), "script" => Script(Script), "sleep" => Sleep(Sleep));

forms!(Fault: "link" => Link(LinkFault), "delete" => Delete(DeleteFault), "apply" => Apply(ApplyFault));

forms!(
    Expect:
    "capture" => Capture(CaptureExpect),
    "command" => Command(CommandExpect),
    "fdb" => Fdb(FdbExpect),
    "neigh" => Neigh(NeighExpect),
    "counters" => Counters(CountersExpect),
    "journey" => Journey(JourneyExpect),
    "limit" => Limit(LimitExpect),
);

pub(super) fn one_check(expect: CaptureExpect, at: ValuePointerRef<'_>) -> Result<CaptureExpect, Problems> {
    let hint = Some("`count: 2` compares the number, `sequence: [\"arp\", \"icmp\"]` each packet".to_owned());
    match (&expect.count, &expect.sequence) {
        (Some(_), Some(_)) => {
            Err(Problems::bad(at.push_key("sequence"), "`count` and `sequence` exclude each other".to_owned(), hint))
        }
        (None, None) => Err(Problems::missing(at, &["count", "sequence"], hint)),
        (None, Some(filters)) if filters.is_empty() => {
            let hint = Some("write `count: 0` if there must be no packet".to_owned());
            Err(Problems::bad(at.push_key("sequence"), "this list is empty".to_owned(), hint))
        }
        _ => Ok(expect),
    }
}

pub(super) fn some_check(expect: CommandExpect, at: ValuePointerRef<'_>) -> Result<CommandExpect, Problems> {
    match (&expect.exit, &expect.stdout) {
        (None, None) => Err(Problems::missing(at, &["exit", "stdout"], None)),
        _ => Ok(expect),
    }
}

pub(super) fn fdb_has_or_lacks(expect: FdbExpect, at: ValuePointerRef<'_>) -> Result<FdbExpect, Problems> {
    has_or_lacks(&expect.has, &expect.lacks, at).map(|()| expect)
}

pub(super) fn neigh_has_or_lacks(expect: NeighExpect, at: ValuePointerRef<'_>) -> Result<NeighExpect, Problems> {
    has_or_lacks(&expect.has, &expect.lacks, at).map(|()| expect)
}

fn has_or_lacks<H, L>(has: &[H], lacks: &[L], at: ValuePointerRef<'_>) -> Result<(), Problems> {
    if has.is_empty() && lacks.is_empty() { Err(Problems::missing(at, &["has", "lacks"], None)) } else { Ok(()) }
}

pub(super) fn some_counter(expect: CountersExpect, at: ValuePointerRef<'_>) -> Result<CountersExpect, Problems> {
    let CountersExpect { counters: _, at: _, rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tx_dropped } =
        &expect;
    if [rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tx_dropped].iter().all(|count| count.is_none()) {
        let hint = "the counters are `rxPackets`, `txPackets`, `rxBytes`, `txBytes`, `rxDropped` and `txDropped`";
        return Err(Problems::bad(at, "this item compares no counter".to_owned(), Some(hint.to_owned())));
    }
    Ok(expect)
}

pub(super) fn some_hop(expect: JourneyExpect, at: ValuePointerRef<'_>) -> Result<JourneyExpect, Problems> {
    if expect.hops.is_empty() {
        let hint = "a packet is seen at least where its journey is looked at: [\"p1a/eth0 Out\"]";
        return Err(Problems::bad(at.push_key("hops"), "this list is empty".to_owned(), Some(hint.to_owned())));
    }
    Ok(expect)
}

pub(super) fn exit_is_limit(expect: LimitExpect, at: ValuePointerRef<'_>) -> Result<LimitExpect, Problems> {
    if *expect.exit != EXIT_LIMIT {
        let message = format!("a run that ends at a limit exits with {EXIT_LIMIT}, not {}", *expect.exit);
        return Err(Problems::bad(at.push_key("exit"), message, Some(format!("write exit: {EXIT_LIMIT}"))));
    }
    Ok(expect)
}
