//! Bodies of our own actions: one JSON object in, JSON values out.

use serde_json::{Map, Value};
use tonic::Status;

use crate::status;

/// The fields of one action's body, taken out one by one so that a misspelt one is noticed.
pub(super) struct Body {
    action: &'static str,
    fields: Map<String, Value>,
}

impl Body {
    pub(super) fn parse(action: &'static str, bytes: &[u8]) -> Result<Self, Status> {
        let value = if bytes.is_empty() {
            Value::Object(Map::new())
        } else {
            serde_json::from_slice(bytes).map_err(|error| {
                status::invalid(format!("the body of action \"{action}\" is not JSON: {error}"))
            })?
        };
        match value {
            Value::Object(fields) => Ok(Self { action, fields }),
            _ => Err(status::invalid(format!(
                "the body of action \"{action}\" must be a JSON object"
            ))),
        }
    }

    /// A text; absent and null are the same.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Status> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, name: &str) -> Result<String, Status> {
        match self.text(name)? {
            Some(text) => Ok(text),
            None => Err(status::invalid(format!(
                "the body of action \"{}\" lacks \"{name}\"",
                self.action
            ))),
        }
    }

    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Status> {
        let value = self.fields.remove(name).unwrap_or_default();
        let texts = match value {
            Value::Null => Some(Vec::new()),
            Value::Array(values) => values
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        texts.ok_or_else(|| self.wrong(name, "a list of strings"))
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Status> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                value.as_u64().map(Some).ok_or_else(|| self.wrong(name, "a whole number"))
            }
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Status> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// Refuses fields that nobody took.
    pub(super) fn finish(self) -> Result<(), Status> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => Err(status::invalid(format!(
                "the body of action \"{}\" has the unknown field \"{name}\"",
                self.action
            ))),
        }
    }

    fn wrong(&self, name: &str, expected: &str) -> Status {
        status::invalid(format!(
            "\"{name}\" in the body of action \"{}\" must be {expected}",
            self.action
        ))
    }
}

/// One result.
pub(super) fn encode(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
