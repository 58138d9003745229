//! Whether a JSON value is what a schema of `docs/schemas` says: the keywords of JSON Schema 2020-12 that they use.

use regex::Regex;
use serde_json::{Map, Value};

/// Keywords that say nothing about values.
const ANNOTATIONS: [&str; 8] = ["$schema", "$id", "$defs", "title", "description", "default", "examples", "format"];

/// A JSON schema.
pub struct Schema(Value);

impl Schema {
    /// Reads a schema.
    ///
    /// # Panics
    /// It is no JSON, or uses a keyword that is not looked at here.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Schema(serde_json::from_str(text).expect("a schema is JSON"))
    }

    /// What is wrong with `value`, the first thing that is; none if it is as the schema says.
    #[must_use]
    pub fn wrong(&self, value: &Value) -> Option<String> {
        self.check(&self.0, value, "").err()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let rules = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(rules) => rules,
            _ => return Err(format!("{at}: nothing may stand here")),
        };
        rules.iter().try_for_each(|(keyword, rule)| self.keyword(rules, keyword, rule, value, at))
    }

    fn keyword(
        &self,
        rules: &Map<String, Value>,
        keyword: &str,
        rule: &Value,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let all = |holds: bool| if holds { Ok(()) } else { Err(format!("{at}: {value} is against {keyword} {rule}")) };
        let number = |rule: &Value| rule.as_f64().expect("a number");
        match keyword {
            "$ref" => self.check(self.find(rule), value, at),
            "type" => all(list(rule).iter().any(|kind| is(kind, value))),
            "const" => all(value == rule),
            "enum" => all(list(rule).contains(value)),
            "pattern" => {
                let pattern = Regex::new(rule.as_str().expect("a pattern")).expect("a pattern");
                all(value.as_str().is_none_or(|text| pattern.is_match(text)))
            }
            "minLength" => all(value.as_str().is_none_or(|text| text.chars().count() as f64 >= number(rule))),
            "maxLength" => all(value.as_str().is_none_or(|text| text.chars().count() as f64 <= number(rule))),
            "minimum" => all(value.as_f64().is_none_or(|n| n >= number(rule))),
            "maximum" => all(value.as_f64().is_none_or(|n| n <= number(rule))),
            "minItems" => all(value.as_array().is_none_or(|a| a.len() as f64 >= number(rule))),
            "maxItems" => all(value.as_array().is_none_or(|a| a.len() as f64 <= number(rule))),
            "minProperties" => all(value.as_object().is_none_or(|o| o.len() as f64 >= number(rule))),
            "prefixItems" => {
                let mut items = value.as_array().into_iter().flatten().zip(list(rule)).enumerate();
                items.try_for_each(|(n, (item, rule))| self.check(rule, item, &format!("{at}/{n}")))
            }
            "items" => {
                let mut items = value.as_array().into_iter().flatten().enumerate();
                items.try_for_each(|(n, item)| self.check(rule, item, &format!("{at}/{n}")))
            }
            "required" => all(value
                .as_object()
                .is_none_or(|o| list(rule).iter().all(|name| o.contains_key(name.as_str().expect("a name"))))),
            "properties" => fields(value).try_for_each(|(name, item)| match rule.get(name) {
                Some(rule) => self.check(rule, item, &format!("{at}/{name}")),
                None => Ok(()),
            }),
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Value::as_object);
                let mut others = fields(value).filter(|(name, _)| known.is_none_or(|k| !k.contains_key(*name)));
                others.try_for_each(|(name, item)| self.check(rule, item, &format!("{at}/{name}")))
            }
            "anyOf" => self.some(rule, value, at, |fits| fits > 0),
            "oneOf" => self.some(rule, value, at, |fits| fits == 1),
            "allOf" => list(rule).iter().try_for_each(|rule| self.check(rule, value, at)),
            "not" => all(self.check(rule, value, at).is_err()),
            _ if ANNOTATIONS.contains(&keyword) => Ok(()),
            _ => panic!("the keyword {keyword} is not looked at"),
        }
    }

    fn some(&self, rule: &Value, value: &Value, at: &str, enough: impl Fn(usize) -> bool) -> Result<(), String> {
        let wrong: Vec<_> = list(rule).iter().filter_map(|rule| self.check(rule, value, at).err()).collect();
        if enough(list(rule).len() - wrong.len()) {
            return Ok(());
        }
        Err(format!("{at}: {value} is none or several of:\n{}", wrong.join("\n")))
    }

    fn find(&self, reference: &Value) -> &Value {
        let path = reference.as_str().and_then(|r| r.strip_prefix('#')).expect("a reference inside the schema");
        self.0.pointer(path).unwrap_or_else(|| panic!("the schema has no {path}"))
    }
}

fn list(rule: &Value) -> &[Value] {
    rule.as_array().map_or(std::slice::from_ref(rule), Vec::as_slice)
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other} is not looked at"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_schema_says() {
        let schema = Schema::new(
            r##"{"type": "object", "required": ["a"], "additionalProperties": false, "$defs": {"n": {"minimum": 1}},
                 "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"type": ["string", "null"], "pattern": "^x"},
                                "c": {"items": {"enum": [1, "z"]}, "maxItems": 2},
                                "d": {"oneOf": [{"const": 1}, {"type": "string"}]}}}"##,
        );
        let good = [
            json!({"a": 1}),
            json!({"a": 2, "b": null, "c": [1, "z"], "d": "s"}),
            json!({"a": 2, "b": "xy", "c": [], "d": 1}),
        ];
        for value in good {
            assert_eq!(schema.wrong(&value), None);
        }
        let bad = [
            json!([]),
            json!({}),
            json!({"a": 0}),
            json!({"a": 1, "b": "y"}),
            json!({"a": 1, "b": 3}),
            json!({"a": 1, "c": [2]}),
            json!({"a": 1, "c": [1, 1, 1]}),
            json!({"a": 1, "d": 2}),
            json!({"a": 1, "e": 2}),
        ];
        for value in bad {
            assert!(schema.wrong(&value).is_some(), "{value}");
        }
    }
}
