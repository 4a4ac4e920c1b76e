//! What a listed resource is made of, and how the path of a field is found in it.

use std::borrow::Cow;

use crate::domain::job::is_label_name;
use crate::filter::{FieldInfo, Kind, Schema};

/// A resource that can be listed, or that paths lead through. In its pieces of SQL, `$` stands for the row's alias.
#[derive(Debug)]
pub struct Resource {
    /// The name in URLs.
    pub(super) name: &'static str,
    /// The table.
    pub(super) table: &'static str,
    /// What holds for active rows; empty if all are.
    pub(super) active: &'static str,
    /// The fields. One whose name has dots stands for that whole path, and goes before the references on it.
    pub(super) fields: &'static [Field],
    /// What follows from tests, so that SQLite can see that a partial index serves.
    pub(super) hints: &'static [Hint],
}

/// A field of a resource's JSON.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    /// The value, as SQL.
    pub(super) sql: &'static str,
    /// The condition that the field is not null, where an index knows it in other words.
    pub(super) present: Option<&'static str>,
    pub(super) target: Target,
}

/// Where a path goes on behind a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// Nowhere.
    None,
    /// To the row whose `pk` is this SQL.
    One { resource: &'static Resource, link: &'static str },
    /// To the members of the JSON object that the field is; each is a text.
    Members,
    /// To all rows whose `column` is the row's `pk`. By itself the field stands for their `element`.
    Many { resource: &'static Resource, column: &'static str, element: &'static str },
}

/// A condition that holds whenever all of `when` are among the tests joined by AND.
#[derive(Debug)]
pub(super) struct Hint {
    pub(super) when: &'static [Premise],
    pub(super) sql: &'static str,
}

/// One test that a hint follows from.
#[derive(Debug)]
pub(super) enum Premise {
    Null(&'static str),
    Equal(&'static str, &'static str),
}

impl Field {
    pub(super) const fn new(name: &'static str, kind: Kind, sql: &'static str) -> Self {
        Self { name, kind, nullable: false, sql, present: None, target: Target::None }
    }

    pub(super) const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    pub(super) const fn present(self, sql: &'static str) -> Self {
        Self { nullable: true, present: Some(sql), ..self }
    }

    /// A JSON object whose members are texts that can be listed by.
    pub(super) const fn of_members(self) -> Self {
        Self { target: Target::Members, ..self }
    }

    /// A reference that stands for the `pk` it holds.
    pub(super) const fn reference(name: &'static str, sql: &'static str, resource: &'static Resource) -> Self {
        Self::new(name, Kind::Int, sql).leads_to(resource, sql)
    }

    pub(super) const fn leads_to(self, resource: &'static Resource, link: &'static str) -> Self {
        Self { target: Target::One { resource, link }, ..self }
    }

    pub(super) const fn leads_to_many(
        self,
        resource: &'static Resource,
        column: &'static str,
        element: &'static str,
    ) -> Self {
        Self { target: Target::Many { resource, column, element }, ..self }
    }
}

/// A field found at the end of its path.
#[derive(Debug)]
pub(super) struct Path {
    /// The references on the way.
    pub(super) steps: Vec<Step>,
    /// The value, as SQL over the last step's row.
    pub(super) sql: Cow<'static, str>,
    /// The member of the JSON object that `sql` is, where the field is one.
    pub(super) member: Option<String>,
    pub(super) present: Option<&'static str>,
    pub(super) info: FieldInfo,
    /// Whether the field is a to-many one by itself, so that `isnull` asks for rows without any element.
    pub(super) whole: bool,
}

/// One reference on a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    One { resource: &'static Resource, link: &'static str },
    Many { resource: &'static Resource, column: &'static str },
}

impl Resource {
    /// Gives the resource's name in URLs.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Gives the table's name.
    pub(in crate::store) fn table(&self) -> &'static str {
        self.table
    }

    fn find(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Finds the field at the end of a path.
    pub(super) fn resolve(&self, segments: &[&str]) -> Option<Path> {
        let mut here = self;
        let mut steps = Vec::new();
        let (mut nullable, mut to_many) = (false, false);
        let mut rest = segments;
        loop {
            if let Some(field) = here.find(&rest.join(".")) {
                let mut path = Path {
                    steps,
                    sql: field.sql.into(),
                    member: None,
                    present: field.present,
                    info: FieldInfo { kind: field.kind, nullable: nullable || field.nullable, to_many },
                    whole: false,
                };
                if let Target::Many { resource, column, element } = field.target {
                    path.steps.push(Step::Many { resource, column });
                    path.sql = resource.find(element)?.sql.into();
                    path.info.to_many = true;
                    path.whole = true;
                }
                return Some(path);
            }
            let (first, behind) = rest.split_first()?;
            let field = here.find(first)?;
            nullable |= field.nullable;
            match field.target {
                Target::None => return None,
                Target::Members => {
                    let member = Some(behind.join(".")).filter(|name| is_label_name(name))?;
                    let info = FieldInfo { kind: Kind::Text, nullable: true, to_many };
                    let (sql, member) = (field.sql.into(), Some(member));
                    return Some(Path { steps, sql, member, present: None, info, whole: false });
                }
                // The key itself stands in the referring row: no need to look at the other one.
                Target::One { link, .. } if behind == ["pk"] => {
                    let info = FieldInfo { kind: Kind::Int, nullable, to_many };
                    return Some(Path { steps, sql: link.into(), member: None, present: None, info, whole: false });
                }
                Target::One { resource, link } => {
                    steps.push(Step::One { resource, link });
                    here = resource;
                }
                Target::Many { resource, column, .. } => {
                    steps.push(Step::Many { resource, column });
                    to_many = true;
                    here = resource;
                }
            }
            rest = behind;
        }
    }
}

impl Schema for Resource {
    fn name(&self) -> &str {
        self.name
    }

    fn field(&self, path: &[&str]) -> Option<FieldInfo> {
        self.resolve(path).map(|path| path.info)
    }
}
