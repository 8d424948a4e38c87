"""The OpenAPI document of the endpoint: what each route takes and answers."""
