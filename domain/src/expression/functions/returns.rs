//! The type of what a function returns, from the types of its arguments.

use crate::expression::Type;
use crate::expression::types::{INT, NUM};

fn arg(args: &[Type], n: usize) -> Type {
    args.get(n).cloned().unwrap_or(Type::Dyn)
}
fn item(args: &[Type]) -> Type {
    args.first().and_then(Type::item).unwrap_or(Type::Dyn)
}
fn number(ty: &Type) -> Type {
    match ty.kinds() & NUM {
        INT => Type::Int,
        NUM => Type::OneOf(vec![Type::Int, Type::Double]),
        _ => Type::Double,
    }
}
fn map(value: Type) -> Type {
    Type::Map(Box::new(value))
}

pub(super) fn int(_: &[Type]) -> Type {
    Type::Int
}
pub(super) fn double(_: &[Type]) -> Type {
    Type::Double
}
pub(super) fn text(_: &[Type]) -> Type {
    Type::Text
}
pub(super) fn bool(_: &[Type]) -> Type {
    Type::Bool
}
pub(super) fn time(_: &[Type]) -> Type {
    Type::Timestamp
}
pub(super) fn span(_: &[Type]) -> Type {
    Type::Duration
}
pub(super) fn texts(_: &[Type]) -> Type {
    Type::Text.listed()
}
pub(super) fn ints(_: &[Type]) -> Type {
    Type::Int.listed()
}
pub(super) fn pairs(_: &[Type]) -> Type {
    Type::Dyn.listed().listed()
}
pub(super) fn maybe_double(_: &[Type]) -> Type {
    Type::OneOf(vec![Type::Double, Type::Null])
}
pub(super) fn same(args: &[Type]) -> Type {
    arg(args, 0)
}
pub(super) fn same_number(args: &[Type]) -> Type {
    number(&arg(args, 0))
}
pub(super) fn item_number(args: &[Type]) -> Type {
    number(&item(args))
}
pub(super) fn items(args: &[Type]) -> Type {
    item(args).listed()
}
pub(super) fn first(args: &[Type]) -> Type {
    item(args).or(Type::Null)
}
/// Of one list its items' type, of several values any of theirs.
pub(super) fn extreme(args: &[Type]) -> Type {
    match args {
        [one] => one.item().unwrap_or(Type::Dyn),
        many => many.iter().cloned().reduce(Type::or).unwrap_or(Type::Dyn),
    }
}
pub(super) fn flat(args: &[Type]) -> Type {
    match item(args) {
        Type::List(inner) => Type::List(inner),
        _ => Type::Dyn.listed(),
    }
}
pub(super) fn keys(args: &[Type]) -> Type {
    match arg(args, 0) {
        Type::Object(_) => texts(args),
        Type::Collection(c) if c.key.len() == 1 => {
            let ty = c.record.fields.iter().find(|f| f.0 == c.key[0]).map(|f| f.1.clone());
            ty.unwrap_or(Type::Dyn).listed()
        }
        _ => Type::Dyn.listed(),
    }
}
pub(super) fn values(args: &[Type]) -> Type {
    match arg(args, 0) {
        Type::Map(value) => Type::List(value),
        Type::Collection(c) => Type::Object(c.record.clone()).listed(),
        _ => Type::Dyn.listed(),
    }
}
pub(super) fn merged(_: &[Type]) -> Type {
    map(Type::Dyn)
}
pub(super) fn get(args: &[Type]) -> Type {
    match arg(args, 0) {
        Type::Map(value) | Type::List(value) => value.or(arg(args, 2)),
        Type::Collection(c) => Type::Object(c.record.clone()).or(arg(args, 2)),
        _ => Type::Dyn,
    }
}
pub(super) fn counts(_: &[Type]) -> Type {
    map(Type::Int)
}
pub(super) fn sums(_: &[Type]) -> Type {
    map(number(&Type::Dyn))
}
pub(super) fn groups(args: &[Type]) -> Type {
    map(item(args).listed())
}
pub(super) fn same_moment(args: &[Type]) -> Type {
    arg(args, 0)
}
pub(super) fn coalesced(args: &[Type]) -> Type {
    let some = |t: &Type| match t {
        Type::OneOf(types) => types.iter().filter(|t| **t != Type::Null).cloned().reduce(Type::or).unwrap_or(Type::Null),
        other => other.clone(),
    };
    let Some((last, init)) = args.split_last() else { return Type::Dyn };
    init.iter().map(some).filter(|t| *t != Type::Null).chain([last.clone()]).reduce(Type::or).unwrap_or(Type::Dyn)
}
