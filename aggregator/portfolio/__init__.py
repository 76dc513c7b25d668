"""Sites, enrolments and programmes as data."""
