"""What a report says of each attack, and of what no audit can tell."""

from __future__ import annotations

ATTACK_WORDS = {
    "analytic": "Divides the first dense layer's gradients; no search.",
    "dlg": "Matches gradients by squared distance and L-BFGS; learns labels it does not know.",
    "idlg": "DLG on one image, its label read off first.",
    "inverting-gradients": "Matches the gradient's direction, for smooth images.",
    "gradinversion": "Squared distance, and several priors on images.",
    "agic": "Takes the update for one gradient; later layers weigh more.",
    "simulation": "Takes the client's local steps again, and differentiates through them.",
    "sme": "Matches one gradient between the parameters sent and those returned.",
}
"""One line for each name in ATTACKS."""

DIFFUSION_WORDS = {
    "gidm": "Latents of a trained diffusion model, then pixels; steps and noise known.",
    "gidm-latent": "The first half of gidm: only images that the model can make.",
    "pixels": "Pixels alone, from noise; steps and noise known.",
    "dlg": "Pixels by squared distance and L-BFGS; steps and noise as known, or one random draw.",
    "inverting-gradients": "Direction, for smooth images; steps and noise as known, or one draw.",
    "gidm+": "Reads the time steps off the gradient; images and noise together, with restarts.",
}
"""One line for each name in DIFFUSION_ATTACKS."""

LIMITS = (
    "That an attack failed here is no proof that none works: attacks get better, and these have"
    " settings and luck. An attack that worked is proof that one does.",
    "The attacker here reads what it is sent. A malicious server may send a model that is made to"
    " leak, which nothing here looks at.",
    "PSNR says how alike pixels are, not what a person sees. A face or a word may be told from a"
    " poor picture, and a good PSNR near the mean image tells nothing: compare the guesses.",
    "Re-identification is among the training images that the audit was given. Among fewer, or more"
    " alike ones, shares differ.",
    "Only images are looked for. Labels, membership and properties of the data may leak where"
    " images do not.",
    "What holds for these parameters, this client and this many images need not hold later in"
    " training: untrained networks often leak more. Audit several rounds.",
    "Noise without clipping has no epsilon. A promise for every client and every attack is what"
    " differential privacy gives, and no audit.",
)
"""What the audit cannot tell."""
