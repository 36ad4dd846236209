//! Images: a name means a program of this machine, and the arguments and environment that it is usually started with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use regex::{Captures, Regex};
use tonic::Status;

use super::cri::{
    Image as Told, ImageSpec, ImageStatusRequest, ImageStatusResponse, Int64Value, ListImagesResponse, PullImageRequest, PullImageResponse,
};

/// Where a program is in a container that was brought there.
const BROUGHT: &str = "/usr/local/bin";

/// Names of images that all mean one program.
#[derive(Debug, Clone)]
pub struct Image {
    names: Regex,
    entrypoint: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Where it is on this machine, if it must be brought.
    brought: Option<PathBuf>,
}

impl Image {
    /// Images whose name matches, which mean a file of this machine, started with these arguments unless a Pod says others. In them `$1`
    /// stands for what the first group of the expression has matched. A container has the file in `/usr/local/bin`, whatever it may see
    /// of where it is here.
    ///
    /// # Panics
    /// If the expression is none, or there is no such file.
    pub fn new(names: &str, program: &Path, arguments: &[&str]) -> Self {
        assert!(program.is_file(), "there is no {}", program.display());
        let name = program.file_name().expect("a file has a name").to_string_lossy();
        Self { brought: Some(program.to_owned()), ..Self::of_system(names, &format!("{BROUGHT}/{name}"), arguments) }
    }

    /// The same with a program that every container has, since its root is this machine's.
    ///
    /// # Panics
    /// If the expression is none.
    pub fn of_system(names: &str, program: &str, arguments: &[&str]) -> Self {
        Self {
            names: Regex::new(names).expect("a test's expression is one"),
            entrypoint: program.to_owned(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            environment: vec![],
            brought: None,
        }
    }

    /// The same with a variable in its environment, which a Pod may set otherwise.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }
}

/// What a container of an image runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// The command with its arguments.
    pub words: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// A file of this machine, and where the container has it.
    pub brought: Option<(PathBuf, String)>,
}

/// All images that can be had.
pub(super) struct Images {
    known: Vec<Image>,
    pulled: Mutex<BTreeSet<String>>,
}

impl Images {
    pub fn new(known: Vec<Image>) -> Self {
        Self { known, pulled: Mutex::default() }
    }

    /// What a container runs that has this image, and a command and arguments of its own: by Docker's rules a command takes the place of
    /// the image's program and arguments, and arguments that of its arguments.
    pub fn program(&self, name: &str, command: &[String], arguments: &[String]) -> Option<Program> {
        let (image, found) = self.find(name)?;
        let expand = |word: &String| {
            let mut expanded = String::new();
            found.expand(word, &mut expanded);
            expanded
        };
        let mut words = if command.is_empty() { vec![expand(&image.entrypoint)] } else { command.to_vec() };
        match (command.is_empty(), arguments.is_empty()) {
            (true, true) => words.extend(image.arguments.iter().map(expand)),
            _ => words.extend_from_slice(arguments),
        }
        let brought = image.brought.clone().map(|file| (file, image.entrypoint.clone()));
        Some(Program { words, environment: image.environment.clone(), brought })
    }

    fn find<'n>(&self, name: &'n str) -> Option<(&Image, Captures<'n>)> {
        self.known.iter().find_map(|image| image.names.captures(name).map(|found| (image, found)))
    }

    /// Those that were pulled.
    pub fn list(&self) -> ListImagesResponse {
        let pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        ListImagesResponse { images: pulled.iter().map(|name| told(name)).collect() }
    }

    /// What there is of one, if it was pulled.
    pub fn status(&self, asked: &ImageStatusRequest) -> ImageStatusResponse {
        let pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        let image = pulled.get(name_of(asked.image.as_ref())).map(|name| told(name));
        ImageStatusResponse { image, ..Default::default() }
    }

    /// Has one.
    ///
    /// # Errors
    /// If there is no such image.
    pub fn pull(&self, asked: &PullImageRequest) -> Result<PullImageResponse, Status> {
        let name = name_of(asked.image.as_ref()).to_owned();
        self.find(&name).ok_or_else(|| Status::not_found(format!("no image of this cluster is called {name:?}")))?;
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        Ok(PullImageResponse { image_ref: name })
    }
}

pub(super) fn name_of(image: Option<&ImageSpec>) -> &str {
    image.map(|image| image.image.as_str()).unwrap_or_default()
}

fn told(name: &str) -> Told {
    Told { id: name.to_owned(), repo_tags: vec![name.to_owned()], size: 1, uid: Some(Int64Value { value: 0 }), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_command_takes_the_place_of_all_and_arguments_that_of_arguments() {
        let images = Images::new(vec![Image::of_system("^books-([a-z]+):", "/bin/serve", &["$1", "--all"])]);
        for (command, arguments, expected) in [
            (&[][..], &[][..], &["/bin/serve", "ratings", "--all"][..]),
            (&[], &["--some"], &["/bin/serve", "--some"]),
            (&["sh"], &[], &["sh"]),
            (&["sh"], &["-c"], &["sh", "-c"]),
        ] {
            let program = images.program("books-ratings:1.0", &words(command), &words(arguments)).unwrap();
            assert_eq!(program.words, expected, "{command:?} {arguments:?}");
        }
        assert_eq!(images.program("other", &[], &[]), None);
    }

    #[test]
    fn an_image_is_there_once_it_was_pulled() {
        let images = Images::new(vec![Image::of_system("^known$", "true", &[])]);
        let spec = |name: &str| Some(ImageSpec { image: name.to_owned(), ..Default::default() });
        let status = |name: &str| images.status(&ImageStatusRequest { image: spec(name), verbose: false }).image;
        assert_eq!(status("known"), None);
        assert_eq!(images.pull(&PullImageRequest { image: spec("known"), ..Default::default() }).unwrap().image_ref, "known");
        assert_eq!(status("known").unwrap().repo_tags, ["known"]);
        let refused = images.pull(&PullImageRequest { image: spec("unknown"), ..Default::default() }).unwrap_err();
        assert!(refused.message().contains("unknown"), "{refused}");
    }
}
