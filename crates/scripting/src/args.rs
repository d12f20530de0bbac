//! Arguments of our functions, checked with the messages of Lua's auxiliary library.

use crate::number::format_g;
use crate::raise;
use mlua::{Error, Lua, MultiValue, Value};

/// The arguments of one call.
pub(crate) struct Argv<'l> {
    pub(crate) lua: &'l Lua,
    values: Vec<Value>,
    name: &'static str,
}

impl<'l> Argv<'l> {
    /// Arguments of the function called `name`.
    pub(crate) fn new(lua: &'l Lua, name: &'static str, values: MultiValue) -> Argv<'l> {
        Argv { lua, values: values.into_iter().collect(), name }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// An argument, counted from 1.
    pub(crate) fn get(&self, at: usize) -> Option<&Value> {
        self.values.get(at.wrapping_sub(1))
    }

    pub(crate) fn is_none_or_nil(&self, at: usize) -> bool {
        matches!(self.get(at), None | Some(Value::Nil))
    }

    /// `bad argument #1 to 'name' (…)`.
    pub(crate) fn bad(&self, at: usize, what: impl AsRef<[u8]>) -> Error {
        let (is_method, name) = self.call_name();
        let at = if is_method { at.saturating_sub(1) } else { at };
        let mut text = if is_method && at == 0 {
            format!("calling '{name}' on bad self (").into_bytes()
        } else {
            format!("bad argument #{at} to '{name}' (").into_bytes()
        };
        text.extend_from_slice(what.as_ref());
        text.push(b')');
        raise::text(self.lua, text)
    }

    /// Whether the function was called as a method, and by which name.
    fn call_name(&self) -> (bool, String) {
        let by_glue = self
            .lua
            .inspect_stack(1, |frame| {
                frame.source().source.as_deref() == Some(raise::GLUE)
                    || frame.source().what == "tail"
            })
            .unwrap_or(false);
        if by_glue {
            return (false, self.name.to_string());
        }
        self.lua
            .inspect_stack(0, |frame| {
                let names = frame.names();
                let name = names.name.as_deref().unwrap_or("?").to_string();
                (names.name_what == Some("method"), name)
            })
            .unwrap_or((false, self.name.to_string()))
    }

    /// `… expected, got …`.
    pub(crate) fn wrong_type(&self, at: usize, wanted: &str) -> Error {
        let got = self.get(at).map_or("no value", type_name);
        self.bad(at, format!("{wanted} expected, got {got}"))
    }

    /// A string, or a number as one.
    pub(crate) fn bytes(&self, at: usize) -> mlua::Result<Vec<u8>> {
        self.get(at).and_then(as_bytes).ok_or_else(|| self.wrong_type(at, "string"))
    }

    /// A number, or a string that holds one.
    pub(crate) fn number(&self, at: usize) -> mlua::Result<f64> {
        self.get(at)
            .and_then(|value| as_number(self.lua, value))
            .ok_or_else(|| self.wrong_type(at, "number"))
    }

    /// A number cut to an integer.
    pub(crate) fn integer(&self, at: usize) -> mlua::Result<i64> {
        Ok(to_integer(self.number(at)?))
    }

    /// An integer, or this one without an argument.
    pub(crate) fn integer_or(&self, at: usize, default: i64) -> mlua::Result<i64> {
        if self.is_none_or_nil(at) { Ok(default) } else { self.integer(at) }
    }

    /// A table.
    pub(crate) fn table(&self, at: usize) -> mlua::Result<&mlua::Table> {
        match self.get(at) {
            Some(Value::Table(table)) => Ok(table),
            _ => Err(self.wrong_type(at, "table")),
        }
    }

    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }
}

/// A number as C casts it.
pub(crate) fn to_integer(number: f64) -> i64 {
    if !(-9.223372036854776e18..9.223372036854776e18).contains(&number) {
        i64::MIN
    } else {
        number as i64
    }
}

/// A number, or a string that holds one.
pub(crate) fn as_number(lua: &Lua, value: &Value) -> Option<f64> {
    match value {
        Value::Integer(value) => Some(*value as f64),
        Value::Number(value) => Some(*value),
        Value::String(_) => lua.coerce_number(value.clone()).ok().flatten(),
        _ => None,
    }
}

/// A string, or a number as one.
pub(crate) fn as_bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(format_g(*number as f64, 14)),
        Value::Number(number) => Some(format_g(*number, 14)),
        _ => None,
    }
}

/// The name that `type` gives.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) => "userdata",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}
