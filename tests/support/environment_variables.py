"""Names of the variables that settings read."""

from config.environment import Environment


def variables_of_the_model() -> set[str]:
    return {
        str(field.validation_alias) if field.validation_alias else f"COPPICE_{name.upper()}"
        for name, field in Environment.model_fields.items()
    }
