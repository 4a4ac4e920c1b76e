//! Contracts of workable templates: the inputs and outputs that a `job_type` promises (contract §7).

use std::fmt;

use super::types::{Expression, Kind, ParseError, Term, Type, is_subtype, type_argument};

/// One known contract, as it stands in the job-contracts table.
#[derive(Debug)]
pub struct KnownContract {
    /// Its name.
    pub name: &'static str,
    /// Its type parameters and their bounds.
    pub parameters: &'static [(&'static str, Kind)],
    /// The package that workers load it from.
    pub pkg: &'static str,
    /// The class that workers load.
    pub cls: &'static str,
}

/// The type parameters that Train and Predict share.
const DOMAIN_AND_FRAMEWORK: &[(&str, Kind)] = &[("DomainType", Kind::Domain), ("FrameworkType", Kind::Framework)];

/// The table of known contracts; job-contracts is seeded with these rows.
pub static KNOWN_CONTRACTS: [KnownContract; 3] = [
    KnownContract {
        name: "Train",
        parameters: DOMAIN_AND_FRAMEWORK,
        pkg: "ufdl.jobcontracts",
        cls: "ufdl.jobcontracts.standard.Train",
    },
    KnownContract {
        name: "Predict",
        parameters: DOMAIN_AND_FRAMEWORK,
        pkg: "ufdl.jobcontracts",
        cls: "ufdl.jobcontracts.standard.Predict",
    },
    KnownContract {
        name: "Export",
        parameters: &[],
        pkg: "ufdl.jobcontracts",
        cls: "ufdl.jobcontracts.standard.Export",
    },
];

/// An input that a contract promises.
#[derive(Debug, Clone, PartialEq)]
pub struct ContractInput {
    /// Its name.
    pub name: &'static str,
    /// The types that it takes.
    pub types: Vec<Type>,
    /// What it is, for people.
    pub help: &'static str,
}

/// An output that a contract promises.
#[derive(Debug, Clone, PartialEq)]
pub struct ContractOutput {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub type_: Type,
    /// What it is, for people.
    pub help: &'static str,
}

/// A known contract with its arguments.
#[derive(Debug, Clone)]
pub struct Contract {
    known: &'static KnownContract,
    /// The arguments that were given: all, or none.
    arguments: Vec<Type>,
}

/// What a `job_type` string says.
#[derive(Debug, Clone)]
pub enum JobType {
    /// Nothing: the string is empty.
    Empty,
    /// A contract that the server knows.
    Known(Contract),
    /// A contract that the server does not know, in canonical form.
    Unknown(String),
}

impl JobType {
    /// Reads a `job_type` string.
    ///
    /// # Errors
    /// When it does not parse, or a known contract's arguments are of the wrong number or outside their bounds.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.trim().is_empty() {
            return Ok(Self::Empty);
        }
        let expression = Expression::parse(text)?;
        let wrong = |reason: &str| ParseError { text: text.to_owned(), place: 0, reason: reason.to_owned() };
        let Term::Applied(name, given) = &expression.term else {
            return Err(wrong("a contract begins with its name"));
        };
        let Some(known) = KNOWN_CONTRACTS.iter().find(|known| known.name == name) else {
            return Ok(Self::Unknown(expression.to_string()));
        };
        if !given.is_empty() && given.len() != known.parameters.len() {
            let count = known.parameters.len();
            return Err(wrong(&format!("{name} takes {count} arguments, not {}", given.len())));
        }
        let arguments =
            given.iter().zip(known.parameters).map(|(given, (_, bound))| type_argument(given, *bound, text));
        Ok(Self::Known(Contract { known, arguments: arguments.collect::<Result<_, _>>()? }))
    }

    /// Gives the contract, if the server knows it.
    pub fn into_contract(self) -> Option<Contract> {
        match self {
            Self::Known(contract) => Some(contract),
            Self::Empty | Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for JobType {
    /// Writes the canonical form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Known(contract) => contract.fmt(f),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

impl Contract {
    /// Gives its name.
    pub fn name(&self) -> &'static str {
        self.known.name
    }

    /// Gives its type parameters by name, each with its argument or, when that was left out, the widest.
    pub fn type_parameters(&self) -> Vec<(&'static str, Type)> {
        let parameters = self.known.parameters.iter().enumerate();
        parameters.map(|(index, (name, _))| (*name, self.argument(index))).collect()
    }

    /// Says whether it has the other's name and its arguments are subtypes of the other's.
    pub fn is_part_of(&self, other: &Contract) -> bool {
        self.name() == other.name()
            && (0..self.known.parameters.len()).all(|index| is_subtype(&self.argument(index), &other.argument(index)))
    }

    /// Gives an argument, or the widest that stands for it.
    fn argument(&self, index: usize) -> Type {
        let bound = self.known.parameters.get(index).map_or(Kind::UfdlType, |(_, bound)| *bound);
        self.arguments.get(index).cloned().unwrap_or(Type::bare(bound))
    }

    /// Gives the inputs that it promises.
    pub fn inputs(&self) -> Vec<ContractInput> {
        let dataset = Type::Known(Kind::Dataset, vec![self.argument(0)]);
        let pk = Type::Known(Kind::Pk, vec![dataset.clone()]);
        match self.name() {
            "Train" => vec![ContractInput { name: "dataset", types: vec![pk], help: "The dataset to train on" }],
            "Predict" => vec![
                ContractInput {
                    name: "model",
                    types: vec![self.model().as_job_output()],
                    help: "The model to make predictions with",
                },
                ContractInput {
                    name: "dataset",
                    types: vec![pk, Type::Known(Kind::Name, vec![dataset])],
                    help: "The dataset to make predictions for",
                },
            ],
            _ => Vec::new(),
        }
    }

    /// Gives the outputs that it promises.
    pub fn outputs(&self) -> Vec<ContractOutput> {
        match self.name() {
            "Train" => vec![ContractOutput { name: "model", type_: self.model(), help: "The trained model" }],
            "Predict" => vec![ContractOutput {
                name: "predictions",
                type_: Type::Known(Kind::Pk, vec![Type::Known(Kind::Dataset, vec![self.argument(0)])]),
                help: "The dataset that holds the predictions",
            }],
            _ => Vec::new(),
        }
    }

    /// Gives the type of model that it is about.
    fn model(&self) -> Type {
        Type::Known(Kind::Model, vec![self.argument(0), self.argument(1)])
    }
}

impl fmt::Display for Contract {
    /// Writes the canonical form, `Name<Arg, Arg>`; arguments that were left out stay left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        for (index, argument) in self.arguments.iter().enumerate() {
            write!(f, "{}{argument}", if index == 0 { "<" } else { ", " })?;
        }
        if self.arguments.is_empty() { Ok(()) } else { f.write_str(">") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a contract that is known.
    fn known(text: &str) -> Contract {
        JobType::parse(text).unwrap().into_contract().unwrap()
    }

    #[test]
    fn train_and_predict_promise_their_inputs_and_outputs() {
        let train = known("Train<Domain<'Speech'>,Framework<'coqui', '1'>>");
        assert_eq!(train.to_string(), "Train<Domain<'Speech'>, Framework<'coqui', '1'>>");
        assert_eq!(train.inputs()[0].types[0].to_string(), "PK<Dataset<Domain<'Speech'>>>");
        assert_eq!(train.outputs()[0].type_.to_string(), "Model<Domain<'Speech'>, Framework<'coqui', '1'>>");
        let predict = known("Predict<Domain<'Speech'>, Framework<'coqui', '1'>>");
        let inputs: Vec<_> = predict.inputs().into_iter().map(|i| format!("{}: {}", i.name, i.types[0])).collect();
        assert_eq!(
            inputs,
            [
                "model: JobOutput<Model<Domain<'Speech'>, Framework<'coqui', '1'>>>",
                "dataset: PK<Dataset<Domain<'Speech'>>>"
            ]
        );
        assert_eq!(predict.inputs()[1].types[1].to_string(), "Name<Dataset<Domain<'Speech'>>>");
        assert_eq!(predict.outputs()[0].type_.to_string(), "PK<Dataset<Domain<'Speech'>>>");
        assert!(known("Export").inputs().is_empty() && known("Export").outputs().is_empty());
    }

    #[test]
    fn a_bare_contract_is_the_widest() {
        let bare = known("Train");
        assert_eq!(bare.to_string(), "Train");
        let parameters: Vec<_> = bare.type_parameters().into_iter().map(|(n, t)| format!("{n}={t}")).collect();
        assert_eq!(parameters, ["DomainType=Domain", "FrameworkType=Framework"]);
        let narrow = known("Train<Domain<'Speech'>, Framework>");
        assert!(narrow.is_part_of(&bare) && !bare.is_part_of(&narrow) && !narrow.is_part_of(&known("Predict")));
    }

    #[test]
    fn bad_contracts_are_refused_and_unknown_ones_kept() {
        for text in [
            "Train<",
            "Train<int, str>",
            "Train<Domain>",
            "Export<int>",
            "'Train'",
            "5",
            "Train x",
            "Train<Nope, Nope>",
        ] {
            let error = JobType::parse(text).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        for (text, kept) in
            [("train", "train"), ("Distil< 'x' >", "Distil<'x'>"), ("Distil<Nope>", "Distil<Nope>"), ("  ", "")]
        {
            let job_type = JobType::parse(text).unwrap();
            assert_eq!(job_type.to_string(), kept);
            assert!(job_type.into_contract().is_none());
        }
    }

    #[test]
    fn every_known_contract_can_be_read_bare() {
        for row in &KNOWN_CONTRACTS {
            assert_eq!(known(row.name).name(), row.name);
            assert_eq!(row.cls, format!("{}.standard.{}", row.pkg, row.name));
        }
    }
}
