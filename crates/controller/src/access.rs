//! Who may see and change what. An object that the caller may not see does not exist for it.

use causeway_model::command::ListQuery;
use causeway_model::resource::{Caller, Role};
use causeway_model::{Error, ProjectId};
use causeway_store::Scope;

use crate::Result;

/// What the caller is about to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Look at it.
    Read,
    /// Change it.
    Write,
}

/// Whether the caller may look at objects of `project`: support diagnoses everybody's.
fn sees(caller: &Caller, project: ProjectId) -> bool {
    caller.owns(project) || caller.role == Role::Support
}

/// The object, if the caller may do that with it.
pub(crate) fn checked<T>(
    caller: &Caller,
    intent: Intent,
    object: Option<T>,
    project: impl FnOnce(&T) -> ProjectId,
    resource: &'static str,
    id: impl ToString,
) -> Result<T> {
    let missing = || Error::NotFound { resource, id: id.to_string() };
    let object = object.ok_or_else(missing)?;
    let project = project(&object);
    if !sees(caller, project) {
        return Err(missing());
    }
    if intent == Intent::Write && !caller.owns(project) {
        return Err(denied("write", resource));
    }
    Ok(object)
}

/// An object that another one is to refer to: it has to be of the same project (system.md §5: else it does not exist).
pub(crate) fn referenced<T>(
    project: ProjectId,
    object: Option<T>,
    of: impl FnOnce(&T) -> ProjectId,
    resource: &'static str,
    id: impl ToString,
) -> Result<T> {
    match object {
        Some(object) if of(&object) == project => Ok(object),
        _ => Err(Error::NotFound { resource, id: id.to_string() }),
    }
}

/// 403.
pub(crate) fn denied(action: &str, resource: &str) -> Error {
    Error::PermissionsDenied { action: action.to_owned(), resource: resource.to_owned() }
}

/// Whose objects the caller's lists show.
pub(crate) const fn scope(caller: &Caller) -> Scope {
    match caller.role {
        Role::Operator | Role::Support => Scope::All,
        Role::Tenant => Scope::Project(caller.project_id),
        Role::Partner | Role::Node => Scope::Nothing,
    }
}

/// Refuses whoever is not an operator.
pub(crate) fn operator(caller: &Caller, action: &str, resource: &str) -> Result<()> {
    if caller.role == Role::Operator { Ok(()) } else { Err(denied(action, resource)) }
}

/// Paging bounds, whatever the caller of this crate has checked already (wire-api.md §1.8).
pub(crate) fn paging(list: &ListQuery) -> Result<()> {
    if list.page == 0 {
        return Err(Error::constraint("page", "pages count from 1"));
    }
    if list.page_size == 0 || list.page_size > 1000 {
        return Err(Error::constraint("page_size", "must be 1 to 1000"));
    }
    Ok(())
}
