"""
Pages for people who hold a link: no account at the admin, no API key, no session.

`base` has what these pages share; each further module is one page. A visitor who must show which wallet is theirs types
its name and password into the form of the act. The act happens in that request, and nothing of the login remains: no
cookie and no bearer token. Secrets of links arrive in the body of a form, never in a URL.
"""
