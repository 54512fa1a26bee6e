"""Acts that a browser walks on the page of persons and second factors."""

# What the log holds after the walks.
BY_OTTO = ["set_up_second_factor", "ended_sessions"]


BY_ADA = [
    "created_person", "changed_role", "changed_mail", "deactivated_person", "activated_person", "reset_second_factor",
    "set_person_password", "ended_sessions", "changed_own_password",
]  # fmt: skip


WALKED = BY_OTTO + BY_ADA
