//! Fields, items and keys: what a value surely lacks is a fault.

use std::sync::Arc;

use super::{Checker, Typed, field_key};
use crate::expression::ast::{Expr, ExprKind, Word};
use crate::expression::functions;
use crate::expression::lexer::At;
use crate::expression::program::Node;
use crate::expression::types::{ANY, BOOL, INT, LIST, NUM, TEXT};
use crate::expression::{CollectionType, ObjectType, Root, Type, suggest};
use crate::value::Value;

/// Names whose declared fields a scope reads by position; of all others it gives the whole value.
fn by_position(root: Root) -> bool {
    matches!(root, Root::Params | Root::State | Root::Draws | Root::Own | Root::Message | Root::Run)
}

/// What is known of a field.
enum Known {
    /// Its type.
    Type(Type),
    /// It may be there, but no declaration names it.
    Undeclared,
    /// It surely is not there.
    No,
}

impl Checker<'_> {
    pub(super) fn select(&mut self, base: &Expr, field: &Word, at: At) -> Typed {
        if let Some((root, index, ty)) = self.declared(base, field) {
            self.reads.fields.insert((root, index));
            return Typed::new(Node::Field(root, index), ty);
        }
        let typed = self.expr(base);
        let ty = self.field_type(&typed.ty, base, field);
        let key = field_key(&field.text);
        let node = match typed.node {
            Node::Local(slot) => Node::LocalField(slot, key, at),
            Node::Const(value) if value.field(&key).is_some() => Node::Const(value.field(&key).cloned().unwrap_or(Value::Null)),
            node => Node::Select(Box::new(node), key, at),
        };
        Typed::new(node, ty)
    }

    pub(super) fn has(&mut self, args: &[Expr], at: At) -> Typed {
        let [Expr { kind: ExprKind::Select { base, field }, .. }] = args else {
            let help = Some("write `has(x.field)`; whether a key is there: `key in x`".to_owned());
            self.fault("cel_arity", "`has` takes one field", help, at);
            return Typed::faulty(Type::Bool);
        };
        let node = if let Some((root, index, _)) = self.declared(base, field) {
            self.reads.fields.insert((root, index));
            Node::HasField(root, index)
        } else {
            let typed = self.expr(base);
            self.field_type(&typed.ty, base, field);
            Node::Has(Box::new(typed.node), field_key(&field.text), at)
        };
        Typed::new(node, Type::Bool)
    }

    /// The position and type of a declared field of a name.
    fn declared(&self, base: &Expr, field: &Word) -> Option<(Root, u16, Type)> {
        let name = base.as_name().filter(|n| self.local(n).is_none())?;
        let (root, Type::Object(object)) = self.env.find(name)? else { return None };
        let place = object.fields.iter().position(|f| f.0 == field.text).filter(|_| by_position(root))?;
        Some((root, u16::try_from(place).ok()?, object.fields[place].1.clone()))
    }

    /// The type of a field, with a fault where the value surely has no such field.
    pub(super) fn field_type(&mut self, ty: &Type, base: &Expr, field: &Word) -> Type {
        let parts: Vec<&Type> = match ty {
            Type::OneOf(types) => types.iter().collect(),
            one => vec![one],
        };
        let known: Vec<Known> = parts.iter().map(|t| known_field(t, &field.text)).collect();
        let possible = known.into_iter().filter_map(|k| match k {
            Known::Type(ty) => Some(ty),
            Known::Undeclared => Some(Type::Dyn),
            Known::No => None,
        });
        let found = possible.reduce(Type::or);
        let object = parts.iter().find_map(|t| match t {
            Type::Object(object) => Some(object.clone()),
            _ => None,
        });
        match (found, object) {
            (Some(Type::Dyn), Some(object)) if !object.fields.iter().any(|f| f.0 == field.text) => {
                self.maybe_misspelt(&object, base, field);
                Type::Dyn
            }
            (Some(ty), _) => ty,
            (None, Some(object)) => {
                self.unknown_field(&object, &self.text(base), field);
                Type::Dyn
            }
            (None, None) => {
                self.no_fields(ty, base, field);
                Type::Dyn
            }
        }
    }

    /// Tells of a field that an object surely lacks.
    pub(super) fn unknown_field(&mut self, object: &ObjectType, of: &str, field: &Word) {
        let names: Vec<&str> = object.fields.iter().map(|f| &*f.0).collect();
        let help = match suggest(&field.text, names.iter().copied()) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if names.is_empty() => Some(format!("`{of}` has no fields")),
            None if names.len() <= 16 => Some(format!("fields of `{of}`: {}", names.join(", "))),
            None => None,
        };
        self.fault("cel_unknown_field", format!("unknown field `{}` of `{of}`", field.text), help, field.at);
    }

    fn maybe_misspelt(&mut self, object: &ObjectType, base: &Expr, field: &Word) {
        if let Some(near) = suggest(&field.text, object.fields.iter().map(|f| &*f.0)) {
            let of = self.text(base);
            let help = Some(format!("did you mean `{near}`?"));
            self.warn("cel_unknown_field", format!("`{of}` declares no field `{}`", field.text), help, field.at);
        }
    }

    fn no_fields(&mut self, ty: &Type, base: &Expr, field: &Word) {
        let (of, name) = (self.text(base), &field.text);
        let help = match ty {
            Type::Collection(c) if c.record.fields.iter().any(|f| f.0 == *name) => {
                Some(format!("a field of its records: `{of}.map(r, r.{name})`, of one record: `{of}[key].{name}`"))
            }
            Type::Collection(_) => Some(format!("a record is read by its key: `{of}['{name}']`")),
            Type::List(_) if functions::find(name).is_none() => Some(format!("a field of its items: `{of}.map(x, x.{name})`")),
            _ => functions::find(name).filter(|f| f.method).map(|_| format!("it is a function: `{of}.{name}()`")),
        };
        self.fault("cel_type", format!("`{of}` is {} and has no field `{name}`", ty.name()), help, field.at);
    }

    pub(super) fn index(&mut self, base: &Expr, index: &Expr, at: At) -> Typed {
        let (b, i) = (self.expr(base), self.expr(index));
        self.check_key(&b.ty, &i, index, base);
        let kinds = i.ty.kinds();
        let parts: Vec<Type> = match &b.ty {
            Type::OneOf(types) => types.clone(),
            one => vec![one.clone()],
        };
        let types = parts.iter().filter_map(|part| match part {
            Type::Dyn => Some(Type::Dyn),
            Type::List(item) if kinds & INT != 0 => Some((**item).clone()),
            Type::Map(value) if kinds & (NUM | TEXT | BOOL | LIST) != 0 => Some((**value).clone()),
            Type::Object(object) if kinds & (NUM | TEXT | BOOL) != 0 => {
                let name = i.node.constant().and_then(Value::as_str);
                let field = name.and_then(|n| object.fields.iter().find(|f| &*f.0 == n));
                Some(field.map_or(Type::Dyn, |f| f.1.clone()))
            }
            Type::Collection(c) => Some(Type::Object(c.record.clone())),
            _ => None,
        });
        let ty = types.reduce(Type::or).unwrap_or_else(|| {
            let (of, ty) = (self.text(base), b.ty.name());
            let what = match &b.ty {
                Type::List(_) => format!("an index of a list is int, not {}", i.ty.name()),
                _ => format!("`{of}` is {ty} and has no items to index"),
            };
            self.fault("cel_type", what, None, at);
            Type::Dyn
        });
        Typed::new(Node::Index(Box::new((b.node, i.node)), at), ty)
    }

    /// Checks what is looked up in a collection against its key.
    pub(super) fn check_key(&mut self, of: &Type, key: &Typed, expr: &Expr, base: &Expr) {
        let Type::Collection(c) = of else { return };
        let name = self.text(base);
        match c.key.as_slice() {
            [one] => {
                let (wanted, given) = (kinds_of(c, one), key.ty.kinds());
                let numbers = wanted & NUM != 0 && given & NUM != 0;
                if wanted & given == 0 && !numbers {
                    let wanted = crate::expression::types::kinds_text(wanted);
                    let what = format!("the key of `{name}` (`{one}`) is {wanted}, not {}", key.ty.name());
                    self.fault("cel_type", what, None, expr.at);
                }
            }
            many => {
                let length = match &expr.kind {
                    ExprKind::List(items) => Some(items.len()),
                    _ => None,
                };
                if key.ty.kinds() & LIST == 0 || length.is_some_and(|n| n != many.len()) {
                    let parts = many.join(", ");
                    let what = format!("the key of `{name}` has {} parts: {parts}", many.len());
                    self.fault("cel_type", what, Some(format!("write `{name}[[{parts}]]`")), expr.at);
                }
            }
        }
    }
}

fn kinds_of(c: &CollectionType, field: &Arc<str>) -> u16 {
    c.record.fields.iter().find(|f| f.0 == *field).map_or(ANY, |f| f.1.kinds())
}

fn known_field(ty: &Type, field: &str) -> Known {
    match ty {
        Type::Dyn => Known::Type(Type::Dyn),
        Type::Map(value) => Known::Type((**value).clone()),
        Type::Object(object) => match object.fields.iter().find(|f| &*f.0 == field) {
            Some(found) => Known::Type(found.1.clone()),
            None if object.open => Known::Undeclared,
            None => Known::No,
        },
        _ => Known::No,
    }
}
