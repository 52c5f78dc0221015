"""Speaking to an endpoint's server as the agent does: its credentials, its certificates."""

import os

from ..config import CredentialError, EndpointSettings, Settings


def headers_of(endpoint: EndpointSettings, settings: Settings) -> dict[str, str]:
    """The headers of a request, credentials included. Raises `OSError` where those can't be read."""
    try:
        headers = endpoint.request_headers(settings.config_dir, os.environ)
        return {name: value() if callable(value) else value for name, value in headers.items()}
    except CredentialError as error:
        raise OSError(str(error)) from error


def certificate_of(endpoint: EndpointSettings) -> str | tuple[str, str] | None:
    """The client's certificate, as requests takes it."""
    if endpoint.client_cert is None:
        return None
    cert = str(endpoint.client_cert)
    return (cert, str(endpoint.client_key)) if endpoint.client_key else cert


def trust_of(endpoint: EndpointSettings) -> str | bool:
    """Whom to believe, as requests takes it."""
    return str(endpoint.ca_file) if endpoint.ca_file else True
