//! What an installation would change, as people read it.

use std::fmt::Write;

use weir_kubernetes::install::{Change, Plan, title};

/// One line for each object, and below it what differs.
pub(super) fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let title = title(&step.object);
        let _ = match &step.change {
            Change::New => writeln!(text, "{title}: would be created"),
            Change::Changed(_) => writeln!(text, "{title}: would be changed"),
            Change::Same => writeln!(text, "{title}: stays as it is"),
            Change::Theirs => writeln!(text, "{title}: is there, and somebody else's"),
        };
        if let Change::Changed(differences) = &step.change {
            for difference in differences {
                let _ = writeln!(text, "  {difference}");
            }
        }
        for conflict in &step.conflicts {
            let _ = writeln!(text, "  ! {conflict}");
        }
    }
    for rival in &plan.rivals {
        let _ = writeln!(text, "! {rival}");
    }
    for object in &plan.stale {
        let _ = writeln!(text, "{}: would be deleted", title(object));
    }
    text
}
