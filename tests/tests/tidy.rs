//! The repository keeps its own rules (CONTRIBUTING.md).

use dartsync_tests::tidy::{self, Tree};

fn none(what: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}

#[test]
fn files_are_short() {
    none("files of more than 500 lines", tidy::files_too_long(&Tree::read()));
}

#[test]
fn functions_are_short() {
    none("functions of more than 70 lines", tidy::functions_too_long(&Tree::read()));
}

#[test]
fn nothing_is_left_unfinished() {
    none("marks of unfinished work", tidy::banned_words(&Tree::read()));
}

#[test]
fn no_machine_is_named() {
    none("paths of a machine", tidy::machine_paths(&Tree::read()));
}

#[test]
fn unsafe_stands_in_hal_alone() {
    none("unsafe outside hal", tidy::unsafe_outside_hal(&Tree::read()));
}

#[test]
fn core_needs_no_allocator() {
    none("std or alloc in core", tidy::allocation_in_core(&Tree::read()));
}

#[test]
fn every_file_is_compiled() {
    none("files that no mod leads to", tidy::unreachable_files(&Tree::read()));
}

#[test]
fn every_dependency_has_its_reason() {
    none("dependencies", tidy::dependencies(&Tree::read()));
}

#[test]
fn links_in_documents_lead_somewhere() {
    none("links", tidy::broken_links(&Tree::read()));
}
