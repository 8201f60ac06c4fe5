"""The audit: what a client's update reveals, under which threat model, and what stops it.

subject, client, threats   who is attacked, and what attackers know
findings, verdict          one attack, its scores, and what they mean in plain words
ladders, cost, curves, sweeps   what is varied: defences, local steps, images in a step
run, clock, scope          all of it, within a time
record, page, pictures, figures, words   the report: one JSON and one HTML file
"""

from fedsec.inversion.audit.client import Recipe, make_client, make_diffusion_client
from fedsec.inversion.audit.clock import Follow
from fedsec.inversion.audit.cost import Cost
from fedsec.inversion.audit.page import render, write_audit
from fedsec.inversion.audit.record import About, to_record
from fedsec.inversion.audit.run import Audit, audit
from fedsec.inversion.audit.scope import DIFFUSION, QUICK, QUICK_DIFFUSION, Scope
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.audit.threats import DIFFUSION_THREATS, EVERY_THREAT, THREATS, Threat

__all__ = [
    "DIFFUSION",
    "DIFFUSION_THREATS",
    "EVERY_THREAT",
    "QUICK",
    "QUICK_DIFFUSION",
    "THREATS",
    "About",
    "Audit",
    "Cost",
    "Follow",
    "Recipe",
    "Scope",
    "Subject",
    "Threat",
    "audit",
    "make_client",
    "make_diffusion_client",
    "render",
    "to_record",
    "write_audit",
]
