"""AdamW without what it needs to be compiled."""

from inspect import unwrap

import torch

_Plain = torch.optim.AdamW


class AdamW(_Plain):
    """torch's, whose own methods load `torch.compile` and SymPy though we compile nothing.

    That costs a process a second and a half and 80 MB. `differentiable` has no effect.
    """

    add_param_group = unwrap(_Plain.add_param_group)
    zero_grad = unwrap(_Plain.zero_grad)
    state_dict = unwrap(_Plain.state_dict)
    load_state_dict = unwrap(_Plain.load_state_dict)
    step = torch.no_grad()(unwrap(_Plain.step))
