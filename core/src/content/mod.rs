//! Chunks, manifests and content ids (docs/PROTOCOL.md, "Content").
