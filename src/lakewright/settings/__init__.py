"""What users write: project.yml says what, profiles.yml says where. Both are read strictly."""
