//! The table of routes: what axum serves and what the OpenAPI document says come from the same lines.

use std::convert::Infallible;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use causeway_wire::schema::{Components, Schema};
use serde_json::{Value, json};

use crate::App;

/// The routes of one API.
pub(crate) struct Routes {
    router: Router<App>,
    operations: Vec<Operation>,
    tag: &'static str,
}

/// One call.
pub(crate) struct Operation {
    pub(crate) tag: &'static str,
    pub(crate) method: Method,
    pub(crate) path: String,
    /// The handler's name.
    pub(crate) name: &'static str,
    pub(crate) answers: Answers,
}

/// What a call that succeeds answers.
#[derive(Clone, Copy)]
pub(crate) enum Answers {
    /// One document.
    One(fn(&mut Components) -> Value),
    /// A page of a list, under this key.
    Many(&'static str, fn(&mut Components) -> Value),
    /// A page of one of two kinds of items.
    Either(&'static str, fn(&mut Components) -> Value, fn(&mut Components) -> Value),
    /// A page of a list, or a text of this content type.
    ManyOr(&'static str, fn(&mut Components) -> Value, &'static str),
    /// 204.
    Nothing,
    /// 501: the call exists in production, and is not offered here.
    NotOffered,
}

/// One document.
pub(crate) const fn one<T: Schema>() -> Answers {
    Answers::One(T::schema)
}

/// A page of documents.
pub(crate) const fn many<T: Schema>(key: &'static str) -> Answers {
    Answers::Many(key, T::schema)
}

/// A page of one of two kinds of documents.
pub(crate) const fn either<A: Schema, B: Schema>(key: &'static str) -> Answers {
    Answers::Either(key, A::schema, B::schema)
}

/// A page of documents, or a text of this content type.
pub(crate) const fn many_or<T: Schema>(key: &'static str, text: &'static str) -> Answers {
    Answers::ManyOr(key, T::schema, text)
}

/// No body.
pub(crate) const fn nothing() -> Answers {
    Answers::Nothing
}

/// Not offered.
pub(crate) const fn not_offered_yet() -> Answers {
    Answers::NotOffered
}

/// The methods of one path.
pub(crate) struct Methods {
    router: MethodRouter<App, Infallible>,
    operations: Vec<(Method, &'static str, Answers)>,
}

macro_rules! methods {
    (first: $($first:ident),+; all: $($name:ident = $method:ident),+) => {
        $(
            /// A path with this method.
            pub(crate) fn $first<H: Handler<T, App>, T: 'static>(handler: H, answers: Answers) -> Methods {
                Methods { router: MethodRouter::new(), operations: Vec::new() }.$first(handler, answers)
            }
        )+

        impl Methods {
            $(
                /// And this method.
                pub(crate) fn $name<H: Handler<T, App>, T: 'static>(mut self, handler: H, answers: Answers) -> Self {
                    let name = std::any::type_name::<H>();
                    let name = name.rsplit("::").next().unwrap_or(name);
                    self.operations.push((Method::$method, name, answers));
                    self.router = self.router.merge(on(MethodFilter::$method, handler));
                    self
                }
            )+
        }
    };
}

methods!(first: delete, get, post, put; all: delete = DELETE, get = GET, patch = PATCH, post = POST, put = PUT);

impl Routes {
    pub(crate) fn new(tag: &'static str) -> Self {
        Self { router: Router::new(), operations: Vec::new(), tag }
    }

    pub(crate) fn route(mut self, path: &str, methods: Methods) -> Self {
        self.operations.extend(methods.operations.into_iter().map(|(method, name, answers)| Operation {
            tag: self.tag,
            method,
            path: path.to_owned(),
            name,
            answers,
        }));
        self.router = self.router.route(path, methods.router);
        self
    }

    /// Both, of all APIs.
    pub(crate) fn merge(self, other: Self) -> Self {
        let mut operations = self.operations;
        operations.extend(other.operations);
        Self { router: self.router.merge(other.router), operations, tag: self.tag }
    }

    /// What axum serves, and what is documented.
    pub(crate) fn into_parts(self) -> (Router<App>, Vec<Operation>) {
        (self.router, self.operations)
    }
}

impl Answers {
    /// The responses of a call that succeeds, by status.
    pub(crate) fn responses(self, components: &mut Components) -> (&'static str, Value) {
        let json = |schema: Value| json!({"application/json": {"schema": schema}});
        match self {
            Self::One(schema) => ("200", json!({"description": "Done.", "content": json(schema(components))})),
            Self::Many(key, item) => {
                let list = page(key, item(components));
                ("200", json!({"description": "A page.", "content": json(list)}))
            }
            Self::Either(key, one, other) => {
                let items = json!({"anyOf": [one(components), other(components)]});
                ("200", json!({"description": "A page.", "content": json(page(key, items))}))
            }
            Self::ManyOr(key, item, text) => {
                let mut content = json(page(key, item(components)));
                content[text] = json!({"schema": {"type": "string"}});
                ("200", json!({"description": "A page, or the text.", "content": content}))
            }
            Self::Nothing => ("204", json!({"description": "Done."})),
            Self::NotOffered => ("501", json!({"$ref": "#/components/responses/Error"})),
        }
    }
}

fn page(key: &str, item: Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            key: {"type": "array", "items": item},
            "total_count": {"type": "integer", "minimum": 0, "description": "Objects that match, before paging."},
        },
        "required": [key, "total_count"],
    })
}
