//! The types that the server knows: their derivation, their parameters, and the classes that workers load (contract §7).

/// Names one of the known types. The order is that of [`KNOWN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is called as in type strings, and the contract says what it stands for")]
pub enum Kind {
    UfdlType,
    UfdlJsonType,
    FiniteJsonType,
    ServerResidentType,
    NamedServerType,
    ValueType,
    Str,
    Int,
    Float,
    Bool,
    Json,
    Nothing,
    Array,
    Map,
    Hardware,
    CudaVersion,
    Domain,
    Dataset,
    DockerImage,
    PretrainedModel,
    Framework,
    JobOutput,
    Pk,
    Name,
    Model,
    Blob,
    Compressed,
}

/// One known type, as it stands in the job-types table.
#[derive(Debug)]
pub struct Known {
    /// Which one it is.
    pub kind: Kind,
    /// Its name in type strings.
    pub name: &'static str,
    /// The type that it derives from; none for the root.
    pub base: Option<Kind>,
    /// The bound of each parameter, which is also what a left-out argument stands for.
    pub parameters: &'static [Kind],
    /// The package that workers load it from.
    pub pkg: &'static str,
    /// The class that workers load.
    pub cls: &'static str,
}

/// Package of every known type.
const PKG: &str = "ufdl.jobtypes";

/// Makes a row of the table.
const fn known(
    kind: Kind,
    name: &'static str,
    base: Option<Kind>,
    parameters: &'static [Kind],
    cls: &'static str,
) -> Known {
    Known { kind, name, base, parameters, pkg: PKG, cls }
}

use Kind as K;

/// The table of known types; job-types is seeded with these rows.
pub static KNOWN: [Known; 27] = [
    known(K::UfdlType, "UFDLType", None, &[], "ufdl.jobtypes.base.UFDLType"),
    known(K::UfdlJsonType, "UFDLJSONType", Some(K::UfdlType), &[], "ufdl.jobtypes.base.UFDLJSONType"),
    known(K::FiniteJsonType, "FiniteJSONType", Some(K::UfdlJsonType), &[], "ufdl.jobtypes.base.FiniteJSONType"),
    known(
        K::ServerResidentType,
        "ServerResidentType",
        Some(K::FiniteJsonType),
        &[],
        "ufdl.jobtypes.base.ServerResidentType",
    ),
    known(
        K::NamedServerType,
        "NamedServerType",
        Some(K::ServerResidentType),
        &[],
        "ufdl.jobtypes.base.NamedServerType",
    ),
    known(K::ValueType, "ValueType", Some(K::UfdlJsonType), &[], "ufdl.jobtypes.base.ValueType"),
    known(K::Str, "str", Some(K::ValueType), &[], "ufdl.jobtypes.base.String"),
    known(K::Int, "int", Some(K::ValueType), &[], "ufdl.jobtypes.base.Integer"),
    known(K::Float, "float", Some(K::ValueType), &[], "ufdl.jobtypes.base.Float"),
    known(K::Bool, "bool", Some(K::ValueType), &[], "ufdl.jobtypes.base.Boolean"),
    known(K::Json, "JSON", Some(K::UfdlJsonType), &[], "ufdl.jobtypes.standard.util.JSON"),
    known(K::Nothing, "Nothing", Some(K::FiniteJsonType), &[], "ufdl.jobtypes.standard.util.Nothing"),
    known(
        K::Array,
        "Array",
        Some(K::UfdlJsonType),
        &[K::UfdlJsonType, K::Int],
        "ufdl.jobtypes.standard.container.Array",
    ),
    known(K::Map, "Map", Some(K::UfdlJsonType), &[K::UfdlJsonType], "ufdl.jobtypes.standard.container.Map"),
    known(K::Hardware, "Hardware", Some(K::NamedServerType), &[], "ufdl.jobtypes.standard.server.Hardware"),
    known(K::CudaVersion, "CUDAVersion", Some(K::NamedServerType), &[], "ufdl.jobtypes.standard.server.CUDAVersion"),
    known(K::Domain, "Domain", Some(K::NamedServerType), &[K::Str], "ufdl.jobtypes.standard.server.Domain"),
    known(K::Dataset, "Dataset", Some(K::NamedServerType), &[K::Domain], "ufdl.jobtypes.standard.server.Dataset"),
    known(
        K::DockerImage,
        "DockerImage",
        Some(K::NamedServerType),
        &[K::Domain, K::Framework],
        "ufdl.jobtypes.standard.server.DockerImage",
    ),
    known(
        K::PretrainedModel,
        "PretrainedModel",
        Some(K::NamedServerType),
        &[K::Domain, K::Framework],
        "ufdl.jobtypes.standard.server.PretrainedModel",
    ),
    known(
        K::Framework,
        "Framework",
        Some(K::ServerResidentType),
        &[K::Str, K::Str],
        "ufdl.jobtypes.standard.server.Framework",
    ),
    known(K::JobOutput, "JobOutput", Some(K::ServerResidentType), &[K::UfdlType], "ufdl.jobtypes.standard.JobOutput"),
    known(K::Pk, "PK", Some(K::FiniteJsonType), &[K::ServerResidentType], "ufdl.jobtypes.standard.PK"),
    known(K::Name, "Name", Some(K::FiniteJsonType), &[K::NamedServerType], "ufdl.jobtypes.standard.Name"),
    known(K::Model, "Model", Some(K::UfdlType), &[K::Domain, K::Framework], "ufdl.jobtypes.standard.Model"),
    known(K::Blob, "BLOB", Some(K::UfdlType), &[K::Str], "ufdl.jobtypes.standard.util.BLOB"),
    known(
        K::Compressed,
        "Compressed",
        Some(K::UfdlType),
        &[K::UfdlType, K::Int],
        "ufdl.jobtypes.standard.util.Compressed",
    ),
];

impl Kind {
    /// Finds a known type by its name in type strings.
    pub fn named(name: &str) -> Option<Self> {
        KNOWN.iter().find(|row| row.name == name).map(|row| row.kind)
    }

    /// Gives its row of the table.
    pub fn row(self) -> &'static Known {
        // Kinds are declared in the order of the table; a test holds them together.
        &KNOWN[self as usize]
    }

    /// Says whether it is the other, or derives from it.
    pub fn derives_from(self, other: Self) -> bool {
        let mut at = Some(self);
        while let Some(kind) = at {
            if kind == other {
                return true;
            }
            at = kind.row().base;
        }
        false
    }

    /// Says whether the server keeps rows of this type itself, so that references to them can be checked.
    pub fn is_kept(self) -> bool {
        matches!(self, K::Hardware | K::CudaVersion | K::Domain | K::Framework | K::DockerImage | K::JobOutput)
    }

    /// Gives the least number of arguments that it takes when it takes any: an array's length may be left out.
    pub(super) fn arguments_min(self) -> usize {
        if self == K::Array { 1 } else { self.row().parameters.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_the_order_of_the_table() {
        for (index, row) in KNOWN.iter().enumerate() {
            assert_eq!(row.kind as usize, index, "{}", row.name);
            assert_eq!(Kind::named(row.name), Some(row.kind));
        }
    }

    #[test]
    fn only_the_root_has_no_base() {
        for row in &KNOWN {
            assert_eq!(row.base.is_none(), row.kind == Kind::UfdlType);
            assert!(row.kind.derives_from(Kind::UfdlType));
        }
    }
}
