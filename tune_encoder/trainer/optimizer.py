"""AdamW without what it needs to be compiled."""

from inspect import unwrap

import torch

_Plain = torch.optim.AdamW


class AdamW(_Plain):
    """torch's, whose methods load `torch.compile` and SymPy for us, who compile nothing.

    That would cost every process that trains a second and a half and 90 MB.
    """

    add_param_group = unwrap(_Plain.add_param_group)
    zero_grad = unwrap(_Plain.zero_grad)
    state_dict = unwrap(_Plain.state_dict)
    load_state_dict = unwrap(_Plain.load_state_dict)
    step = torch.no_grad()(unwrap(_Plain.step))
