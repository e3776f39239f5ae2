use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use dockin_core::{
    Target,
    access::{Verb, coarse},
    access_list::{AccessEntry, AccessList},
    access_policy::attributes,
    identity::{Principal, Proof},
};
use dockin_policy::{
    access::{AccessRules, Attributes, Decision, Explanation, Mode, Person, Question, Tenancy},
    io::access_file::AccessFiles,
};
use serde::Deserialize;

use crate::{
    failure::{DENIED, Failure},
    low_args::{AccessExplainArgs, AccessFilesArgs},
    printable::printable,
};

/// A question about access rules.
#[derive(Debug)]
pub(crate) enum Access {
    /// Are they right?
    Check(Vec<PathBuf>, AccessFilesArgs),
    /// What do they say to a request?
    Explain(AccessExplainArgs),
}

/// Answers it; the exit code of an explained request that would be refused is 77.
pub(crate) fn run(access: Access) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match access {
        Access::Check(files, args) => {
            let all = match files.as_slice() {
                [] => vec![files_of(&args)?],
                files => of_names(files)?,
            };
            for (files, compatible) in all {
                let mode = mode(compatible || args.compatible);
                let (rules, _) = load(&files, mode)?;
                let names: Vec<String> = files
                    .paths()
                    .iter()
                    .map(|path| printable(&path.display().to_string()).to_string())
                    .collect();
                let (names, rules, links) =
                    (names.join(", "), rules.rule_count(), rules.link_count());
                writeln!(out, "{names}: {rules} rules, {links} links, no fault found")
                    .map_err(|error| Failure::output(&error))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Access::Explain(args) => {
            if let Some(list) = access_list(&args.files)? {
                let allowed = explain_list(&list, &args, &mut out)?;
                return Ok(exit_code(allowed));
            }
            let (files, compatible) = files_of(&args.files)?;
            let mode = mode(compatible || args.files.compatible);
            let (rules, tenancy) = load(&files, mode)?;
            let allowed = explain(&rules, &tenancy, &args, &mut out)?;
            Ok(exit_code(allowed))
        }
    }
}

fn exit_code(allowed: bool) -> ExitCode {
    match allowed {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DENIED),
    }
}

const fn mode(compatible: bool) -> Mode {
    match compatible {
        true => Mode::Compatible,
        false => Mode::Strict,
    }
}

fn load(files: &AccessFiles, mode: Mode) -> Result<(AccessRules, Tenancy), Failure> {
    files
        .load(mode)
        .map_err(|error| Failure::local(format!("access rules {error}")))
}

/// Files given by their endings: a `.conf` and a `.csv` belong together, others are documents.
fn of_names(files: &[PathBuf]) -> Result<Vec<(AccessFiles, bool)>, Failure> {
    let ends = |path: &Path, ending: &str| path.extension().is_some_and(|found| found == ending);
    let mut all = Vec::new();
    let mut models = files.iter().filter(|path| ends(path, "conf"));
    let model = models.next();
    for path in files.iter().filter(|path| !ends(path, "conf")) {
        let files = match (ends(path, "csv"), model) {
            (false, _) => AccessFiles::Document(path.clone()),
            (true, Some(model)) => AccessFiles::Casbin {
                model: model.clone(),
                policy: path.clone(),
                tenancy: None,
            },
            (true, None) => {
                let path = path.display();
                return Err(Failure::local(format!(
                    "`{path}` needs its model, a `.conf` file"
                )));
            }
        };
        all.push((files, false));
    }
    match all.is_empty() {
        true => Err(Failure::local(
            "name a `.yaml`, or a `.conf` and a `.csv` file",
        )),
        false => Ok(all),
    }
}

/// What of the gateway's configuration says where its access rules are.
#[derive(Deserialize)]
struct Configuration {
    access_rules: Option<ConfiguredRules>,
    #[serde(default)]
    access: Vec<AccessEntry>,
}

impl Configuration {
    fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::local(format!("cannot read configuration `{shown}`: {error}"))
        })?;
        serde_saphyr::from_str(&text).map_err(|error| {
            let error = error.without_snippet();
            Failure::local(format!("configuration `{shown}`: {error}"))
        })
    }
}

/// The entries under `access` of a configuration, when they are what decides.
fn access_list(args: &AccessFilesArgs) -> Result<Option<AccessList>, Failure> {
    let Some(path) = &args.config else {
        return Ok(None);
    };
    let configuration = Configuration::read(path)?;
    if configuration.access_rules.is_some() {
        return Ok(None);
    }
    let list = AccessList::new(configuration.access);
    list.map(Some)
        .map_err(|error| Failure::local(format!("configuration `{}`: {error}", path.display())))
}

#[derive(Deserialize)]
struct ConfiguredRules {
    file: Option<PathBuf>,
    model: Option<PathBuf>,
    policy: Option<PathBuf>,
    tenancy: Option<PathBuf>,
    #[serde(default)]
    compatible: bool,
}

fn files_of(args: &AccessFilesArgs) -> Result<(AccessFiles, bool), Failure> {
    let (found, base) = match &args.config {
        None => {
            let found = ConfiguredRules {
                file: args.file.clone(),
                model: args.model.clone(),
                policy: args.policy.clone(),
                tenancy: args.tenancy.clone(),
                compatible: args.compatible,
            };
            (found, Path::new(""))
        }
        Some(path) => {
            let shown = path.display();
            let found = Configuration::read(path)?.access_rules.ok_or_else(|| {
                Failure::local(format!("configuration `{shown}` has no `access_rules`"))
            })?;
            (found, path.parent().unwrap_or(Path::new("")))
        }
    };
    let path = |path: PathBuf| base.join(path);
    let compatible = found.compatible;
    match (found.file, found.model, found.policy) {
        (Some(file), None, None) => Ok((AccessFiles::Document(path(file)), compatible)),
        (None, Some(model), Some(policy)) => {
            let files = AccessFiles::Casbin {
                model: path(model),
                policy: path(policy),
                tenancy: found.tenancy.map(path),
            };
            Ok((files, compatible))
        }
        _ => Err(Failure::local(
            "say where the rules are: --config FILE, --file FILE, or --model FILE and --policy FILE",
        )),
    }
}

/// `CLUSTER/NAMESPACE[/KIND[/NAME]]`, where `*` stands for all.
fn wanted(args: &AccessExplainArgs) -> Result<Attributes, Failure> {
    let all = |part: &str| match part {
        "*" => String::new(),
        part => part.to_owned(),
    };
    let parts: Vec<&str> = args.target.split('/').collect();
    let (cluster, namespace, resource, name) = match *parts.as_slice() {
        [cluster] => (cluster, "*", "pods", "*"),
        [cluster, namespace] => (cluster, namespace, "pods", "*"),
        [cluster, namespace, pod] => (cluster, namespace, "pods", pod),
        [cluster, namespace, resource, name] => (cluster, namespace, resource, name),
        _ => {
            let target = &args.target;
            let fix = "is no CLUSTER/NAMESPACE/POD and no CLUSTER/NAMESPACE/KIND/NAME";
            return Err(Failure::local(format!("target `{target}` {fix}")));
        }
    };
    if let Some(path) = &args.path {
        return Ok(Attributes {
            verb: args.verb.clone(),
            path: path.clone(),
            cluster: Some(all(cluster)),
            ..Attributes::default()
        });
    }
    if let Some(verb) = session_verb(&args.verb) {
        let target = Target {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            pod: all(name),
            container: None,
        };
        return Ok(attributes(verb, &target));
    }
    let (verb, subresource) = (args.verb.as_str(), args.subresource.as_str());
    Ok(Attributes {
        verb: verb.to_owned(),
        group: args.api_group.clone(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        name: all(name),
        namespace: all(namespace),
        cluster: Some(all(cluster)),
        ..Attributes::default()
    })
}

/// What is no verb of Kubernetes.
fn session_verb(word: &str) -> Option<Verb> {
    let all = [
        Verb::Exec,
        Verb::Attach,
        Verb::PortForward,
        Verb::Logs,
        Verb::Audit,
        Verb::Review,
    ];
    all.into_iter().find(|verb| verb.as_str() == word)
}

/// What the entries under `access` say.
fn explain_list(
    list: &AccessList,
    args: &AccessExplainArgs,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let wanted = wanted(args)?;
    let asked = match session_verb(&args.verb) {
        Some(verb) => {
            let everything = |text: &str| if text.is_empty() { "*" } else { text }.to_owned();
            let cluster = wanted.cluster.as_deref().unwrap_or_default();
            let pod = match verb {
                Verb::Audit | Verb::Review => String::new(),
                _ => wanted.name.clone(),
            };
            let target = Target {
                cluster: everything(cluster),
                namespace: everything(&wanted.namespace),
                pod,
                container: None,
            };
            Some((verb, target))
        }
        None => coarse(&wanted),
    };
    let person = Principal::new(&args.user, args.group.clone(), Proof::Internal);
    let cluster = wanted.cluster.as_deref().unwrap_or_default();
    let entry = match asked {
        _ if args.verb == REACH => list.entry_in(&person, cluster),
        None => None,
        Some((verb, target)) => list.entry_for(&person, verb, &target),
    };
    let written = match entry {
        Some(number) => writeln!(
            out,
            "decision   allow\nreason     allowed by entry {number} under `access`"
        ),
        None => writeln!(out, "decision   deny\nreason     no entry under `access`"),
    };
    written.map_err(|error| Failure::output(&error))?;
    Ok(entry.is_some())
}

/// Whether there is anything in a cluster that somebody may do.
const REACH: &str = "reach";

fn explain(
    rules: &AccessRules,
    tenancy: &Tenancy,
    args: &AccessExplainArgs,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let tenant = args.tenant.iter().cloned().collect();
    let mut groups = args.group.clone();
    if let Some(project) = &args.project {
        groups.push(format!("project:{project}"));
    }
    let person = Person {
        user: args.user.clone(),
        groups,
        extra: [("tenantid".to_owned(), tenant)].into(),
    };
    let wanted = wanted(args)?;
    if args.verb == REACH {
        let cluster = wanted.cluster.as_deref().unwrap_or_default();
        let allowed = tenancy.reaches(rules, &person, cluster);
        let (decision, reason) = match allowed {
            true => ("allow", "allowed: there is something he may do there"),
            false => ("deny", "not allowed: no rule matches"),
        };
        writeln!(out, "decision   {decision}\nreason     {reason}")
            .map_err(|error| Failure::output(&error))?;
        return Ok(allowed);
    }
    let written = match tenancy.question(rules.mode(), &person, &wanted) {
        Err(answer) => {
            let decision = if answer.allowed { "allow" } else { "deny" };
            let reason = printable(&answer.reason).to_string();
            writeln!(out, "decision   {decision}\nreason     {reason}").map(|()| answer.allowed)
        }
        Ok(question) => {
            let explanation = question.explain(rules);
            show(&question, &explanation, out).map(|()| explanation.decision.is_allowed())
        }
    };
    written.map_err(|error| Failure::output(&error))
}

fn show(question: &Question, why: &Explanation, out: &mut impl Write) -> io::Result<()> {
    let decision = match why.decision {
        Decision::Allowed => "allow",
        Decision::Denied | Decision::NotAllowed => "deny",
    };
    writeln!(out, "decision   {decision}")?;
    writeln!(out, "reason     {}", printable(&why.to_string()))?;
    writeln!(out, "action     {}", printable(&question.action))?;
    writeln!(out, "object     {}", printable(&question.object))?;
    let domain = match question.domain.as_str() {
        "" => "-",
        domain => domain,
    };
    writeln!(out, "project    {}", printable(domain))?;
    for subject in &question.subjects {
        writeln!(out, "asked for  {}", printable(subject))?;
    }
    for held in &why.held {
        writeln!(out, "is given   {}", printable(held))?;
    }
    for matched in &why.matched {
        writeln!(out, "rule       {}", printable(&matched.to_string()))?;
    }
    Ok(())
}
