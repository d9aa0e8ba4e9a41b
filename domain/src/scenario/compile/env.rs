//! Which names an expression sees in which place, with their types.

use std::sync::Arc;

use super::Compiler;
use crate::expression::{CollectionType, Env, ObjectType, Root, Type};
use crate::scenario::{CollectionSpec, MESSAGE_FIELDS, OWN_FIELDS, RUN_FIELDS, Variable};

/// A map with exactly these fields.
pub(crate) fn object(fields: impl IntoIterator<Item = (Arc<str>, Type)>) -> Type {
    Type::Object(Arc::new(ObjectType { fields: fields.into_iter().collect(), open: false }))
}

/// A collection as expressions see it.
fn collection(spec: &CollectionSpec) -> Type {
    let record = match &spec.schema.ty {
        Type::Object(object) => object.clone(),
        _ => Arc::new(ObjectType { fields: Vec::new(), open: true }),
    };
    let (key, index) = (spec.shape.key.clone(), spec.shape.index.clone());
    Type::Collection(Arc::new(CollectionType { name: spec.shape.name.clone(), key, index, record }))
}

/// `message`.
pub(crate) fn message() -> Type {
    let or_null = || Type::OneOf(vec![Type::Text, Type::Null]);
    object(MESSAGE_FIELDS.iter().map(|field| {
        let ty = match *field {
            "kind" => Type::Text,
            "type" | "from" | "text" | "collection" => or_null(),
            _ => Type::Dyn,
        };
        (Arc::from(*field), ty)
    }))
}

/// `run`.
pub(crate) fn run() -> Type {
    object(RUN_FIELDS.iter().map(|field| {
        let ty = match *field {
            "status" | "mode" => Type::Text,
            "cost_usd" => Type::Double,
            "degraded" | "failed" => Type::Bool,
            _ => Type::Int,
        };
        (Arc::from(*field), ty)
    }))
}

/// `self`: the agent's own fields, then `id` and `replica`.
pub(crate) fn own(variables: &[Variable]) -> Type {
    let own = variables.iter().map(|v| (v.name.clone(), v.schema.ty.clone()));
    object(own.chain([(Arc::from(OWN_FIELDS[0]), Type::Text), (Arc::from(OWN_FIELDS[1]), Type::Int)]))
}

impl Compiler<'_> {
    /// `params` with the parameters known so far.
    pub(super) fn params_type(&self) -> Type {
        object(self.parameters.iter().map(|p| (p.name.clone(), p.schema.ty.clone())))
    }

    /// Builds the environments once parameters, state and collections have their schemas.
    pub(super) fn environments(&mut self) {
        let mut env = Env::default();
        env.declare("params", Root::Params, self.params_type());
        self.params = env.clone();
        env.declare("state", Root::State, object(self.state.iter().map(|v| (v.name.clone(), v.schema.ty.clone()))));
        env.declare("tick", Root::Tick, Type::Int);
        env.declare("now", Root::Now, Type::Timestamp);
        for (n, spec) in self.collections.iter().enumerate() {
            env.declare(spec.shape.name.clone(), Root::Collection(u16::try_from(n).unwrap_or(u16::MAX)), collection(spec));
        }
        self.world = env.clone();
        env.declare("seed", Root::Seed, Type::Int);
        env.declare("run", Root::Run, run());
        self.run = env;
    }
}
