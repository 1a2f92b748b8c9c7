"""The settings of the reference sandbox, and what each of them is here: the one place where its names stand.

Facts from train_args.py of ReaLLMASIC's nanoGPT and of its descendants. How values become fields is said in `meaning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import Value, shown
from tunemax.gpt.numbers import whole_number
from tunemax.search.question.yaml_lines import Fault, Where


@dataclass(frozen=True)
class Name:
    """A setting that means something here."""

    kind: type[Value]
    default: Value | None = None
    """What the sandbox takes where a file does not name it."""
    field: str = ""
    """The field that it is, where it is that and nothing else; of a softmax variant, the variant's own."""
    variants: tuple[str, ...] = ()
    """The softmax variants of the sandbox that it is an option of."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CONSMAX = ("consmax", "consmax_v2", "consmax_quan", "saturatingconsmax")
BY_LENGTH = _words(
    """
    strongermax polymax vpolymax exppolymax saturatingconsmax sigmoidmax relumax relu2max softplus softplus2max
    squareplus gelumax softshrink
    """
)

NAMES: Mapping[str, Name] = {
    # The question
    "dataset": Name(str, "shakespeare_char"),
    "max_iters": Name(int, 3500),
    "seed": Name(int, 1337, "seed"),
    "eval_interval": Name(int, 250),
    # Sizes
    "n_layer": Name(int, 6, "n_layer"),
    "n_head": Name(int, 6, "n_head"),
    "n_embd": Name(int, 384, "n_embd"),
    "block_size": Name(int, 256, "block_size"),
    "batch_size": Name(int, 64),
    "gradient_accumulation_steps": Name(int, 1),
    # Training
    "learning_rate": Name(float, 1e-3, "learning_rate"),
    "decay_lr": Name(bool, False),
    "lr_scheduler": Name(str, "none"),
    "warmup_iters": Name(int, 100),
    "lr_decay_iters": Name(int, 3500),
    "lr_decay_match_max_iters": Name(bool, True),
    "min_lr": Name(float, 1e-4),
    "cosine_t_max": Name(int, 1000),
    "cosine_eta_min": Name(float, 0.0),
    "grad_clip": Name(float, 1.0, "grad_clip"),
    "dropout": Name(float, 0.0, "dropout"),
    "dtype": Name(str, "float16"),
    "optimizer": Name(str, "adamw"),
    "beta1": Name(float, 0.9, "beta1"),
    "beta2": Name(float, 0.99, "beta2"),
    "weight_decay": Name(float, 0.1),
    "adamw_weight_decay": Name(float),
    "sgd_momentum": Name(float, 0.9),
    "sgd_nesterov": Name(bool, False),
    "muon_momentum": Name(float, 0.95),
    "muon_nesterov": Name(bool, True),
    # The model
    "bias": Name(bool, False, "bias"),
    "wte_weight_tying": Name(bool, True, "tie_weights"),
    "use_rotary_embeddings": Name(bool, False),
    "use_abs_pos_embeddings": Name(bool, True),
    "rope_length": Name(int),
    "norm_variant_attn": Name(str, "rmsnorm"),
    "norm_variant_output": Name(str),
    "use_pre_ln": Name(bool),
    "use_peri_ln": Name(bool, False),
    "use_post_ln": Name(bool, False),
    "mlp_variant": Name(str, "mlp"),
    "activation_variant": Name(str, "gelu"),
    "mlp_expansion_factor": Name(float, 4.0),
    "mlp_size": Name(int),
    "attention_variant": Name(str, "causal"),
    "n_kv_group": Name(int),
    "n_qk_head_dim": Name(int),
    "n_v_head_dim": Name(int),
    "use_concat_heads": Name(bool, False),
    "window_size": Name(int),
    "use_qk_norm": Name(bool, False),
    "use_qk_norm_scale": Name(bool, False),
    "use_v_norm": Name(bool, False),
    "use_flash_lobo": Name(bool, False),
    "use_flash_lobo_per_head": Name(bool, False),
    "use_flash_obo_const": Name(bool, False),
    "flash_lobo_log_const": Name(float, 0.0),
    # Softmax variants
    "softmax_variant_attn": Name(str, "softmax"),
    "softmax_variant_output": Name(str, "softmax"),
    "div_by_seq_len": Name(bool, False, "div_by_seq_len", BY_LENGTH),
    "consmax_initial_beta": Name(float, 2.5, "beta", CONSMAX),
    "consmax_initial_gamma": Name(float, 100.0, "gamma", CONSMAX),
    "consmax_use_euler_base": Name(bool, True, variants=("consmax", "consmax_v2", "saturatingconsmax")),
    "consmax_base": Name(float, 2.0, variants=("consmax", "consmax_v2", "saturatingconsmax")),
    "consmax_per_head": Name(bool, True, variants=("consmax_v2",)),
    "consmax_saturation": Name(float, 11.0, "saturation", ("saturatingconsmax",)),
    "consmax_learnable_beta": Name(bool, True, "learn_beta", ("saturatingconsmax",)),
    "consmax_learnable_gamma": Name(bool, True, "learn_gamma", ("saturatingconsmax",)),
    "polymax_x_intercept": Name(float, -100.0, "x0", ("polymax", "vpolymax")),
    "polymax_y_intercept": Name(float, 1.0, "y0", ("polymax", "vpolymax")),
    "polymax_power": Name(float, 2.0, "power", ("polymax", "vpolymax")),
    "polymax_divisor": Name(float, 1000.0, "divisor", ("polymax", "vpolymax")),
    "exppolymax_use_euler_base": Name(bool, True, variants=("exppolymax",)),
    "exppolymax_base": Name(float, 4.0, variants=("exppolymax",)),
    "exppolymax_power": Name(float, 2.0, "power", ("exppolymax",)),
    "exppolymax_divisor": Name(float, 1000.0, "divisor", ("exppolymax",)),
    "relumax_divisor": Name(float, 256.0, "divisor", ("relumax",)),
    "relu2max_divisor": Name(float, 256.0, "divisor", ("relu2max",)),
    "sigmoidmax_divisor": Name(float, 256.0, "divisor", ("sigmoidmax",)),
    "softplus_divisor": Name(float, 256.0, "divisor", ("softplus", "softplus2max")),
    "squareplus_divisor": Name(float, 100.0, "divisor", ("squareplus",)),
    "softshrink_attn_lambda": Name(float, 0.5, "threshold", ("softshrink",)),
    "softshrink_attn_divisor": Name(float, 64.0, "divisor", ("softshrink", "gelumax")),
    "pfla_softmax_init_activation": Name(str, "gelu", "start", ("pfla_softmax",)),
    "pfla_softmax_learn_y": Name(bool, True, "learn_height", ("pfla_softmax",)),
    "sigsoftmax_use_euler_base": Name(bool, True, variants=("sigsoftmax",)),
    "sigsoftmax_base": Name(float, 2.0, variants=("sigsoftmax",)),
    "softermax_use_xmax": Name(bool, True, "subtract_max", ("softermax",)),
    "strongermax_strength": Name(float, 2.718281828459045, "strength", ("strongermax",)),
    "strongermax_div_by_sum_of_terms": Name(bool, True, "divide_by_sum", ("strongermax",)),
    "strongermax_divisor": Name(float, 1.0, "divisor", ("strongermax",)),
    "strongermax_use_xmax": Name(bool, True, variants=("strongermax",)),
    "strongermax_xmax_guess": Name(float, variants=("strongermax",)),
    "strongermax_clamping": Name(bool, False, "clamp", ("strongermax",)),
    "strongermax_clamp_value": Name(float, 88.0, "clamp_value", ("strongermax",)),
    "strongermax_obo": Name(float, 0.0, "obo", ("strongermax",)),
    "strongermax_use_learned_obo": Name(bool, False, variants=("strongermax",)),
    "strongermax_use_learned_obo_per_head": Name(bool, False, variants=("strongermax",)),
    "strongermax_temperature_factor": Name(float, 1.0, "temperature", ("strongermax",)),
    "strongermax_use_learned_temperature_factor": Name(bool, False, "learn_temperature", ("strongermax",)),
}
"""Every setting that is translated."""

PER_HEAD = "consmax_v2"
"""A softmax variant of the sandbox that is a setting of another one here."""
SOFTMAXES = dict.fromkeys((PER_HEAD, *(variant for known in NAMES.values() for variant in known.variants)))
"""The softmax variants of the sandbox that have options."""
NORMS = {"rmsnorm": "rms", "layernorm": "layer"}
OTHER_NORMS = ("krmsnorm", "prmsnorm", "hyperspherenorm", "cappedhyperspherenorm", "dact", "identity")
ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "squared_relu": "relu2", "silu": "silu"}
GATES = {"gelu": "geglu", "relu": "reglu", "silu": "swiglu"}
"""MLPs with a gate, by what the sandbox's `swiglu` takes as its activation."""
OTHER_ACTIVATIONS = _words(
    """
    celu elu gelu_shifted glu leaky_relu learned_spline mish piecewise pfla pfla_le prelu relu6 rrelu selu
    sigmoid softplus softsign softshrink tanh identity disco relu_power squared_gelu
    """
)
MLPS = ("mlp", "swiglu")
OTHER_MLPS = ("kan", "dual_path", "dual_path_swiglu", "edgellm_asic_mlp", "identity")
ATTENTION = ("causal", "infinite")
OTHER_ATTENTION = ("linear", "ssm", "identity", "mla", "co4", "iqa", "edgellm_asic_attn")
OPTIMIZERS = ("adamw", "lion", "muon", "sgd")
OTHER_OPTIMIZERS = _words(
    """
    accsgd adabelief adabound adafactor adagrad adam adamax adamod adamod_diffgrad adamp adams adamw_act_reg
    adan ademamix aggmo apollo_adamw asgd diffgrad lamb entropy_aware_adamw lambdiff lbfgs lookahead magma mezo
    nadam novograd orthoadam pid qhadam qhm radam rmsprop rprop sgdp sgdw shampoo soap sophiag sparseadam swats
    var_adaptive_lr yogi
    """
)
SCHEDULERS = ("none", "cosine")
OTHER_SCHEDULERS = ("exponential", "step", "plateau")
PRECISIONS = {"float32": "fp32", "float16": "fp32", "bfloat16": "bf16"}
"""Half precision needs a scaled loss, which is not here; what it is for is had in single precision."""

WITHOUT = {
    "activation_list attention_list attention_residual_variant": (None, "standard"),
    "attn_logit_softcapping final_logit_softcapping": (None, False),
    "dataset_list import_wte_npy import_scale_matrices_npz": (None,),
    "init_from": ("scratch",),
    "training_mode": ("single",),
    "training_limiters": ("max_iters", ("max_iters",)),
    "sampling_method": ("random",),
    "loss_fn": ("cross_entropy",),
    "init_variant": ("gaussian",),
    "rope_variant": ("rope",),
    "absolute_pos_embedding_variant": ("learned",),
    "attn_residual_combination mlp_residual_combination": ("add",),
    "linear_variant_attn linear_variant_mlp linear_variant_q linear_variant_k linear_variant_v": ("linear",),
    "linear_variant_attn_proj linear_variant_mlp_up linear_variant_mlp_down": ("linear",),
    "linear_mean_init embedding_mean_init mlp_x_offset mlp_y_offset n_lpe embedding_gaussian_noise_std": (0,),
    "linear_std_init embedding_std_init": (0.02,),
    "mlp_down_projs shared_mlp_size shared_mlp_seq shared_attn_size shared_attn_seq": (1,),
    "mlp_cproj_scale attn_cproj_scale correct_top1_attenuation exppolymax_y_intercept entropy_lr_boost": (1,),
    "muon_ns_steps": (5,),
    "muon_min_ndim": (2,),
    "adamw_eps": (1e-8,),
    "distance_top1_strength": (0,),
    "pfla_softmax_num_points": (30,),
    "pfla_softmax_left_bound": (-10,),
    "pfla_softmax_right_bound": (10,),
    "pfla_softmax_mode pfla_softmax_density": ("linear",),
    "pfla_softmax_learn_x pfla_softmax_use_learned_divisor": (False,),
    "pfla_softmax_use_obo pfla_softmax_use_learned_obo": (False,),
    "eval_only focus_on_top1_loss gate learn_mlp_x_offset learn_mlp_y_offset lsv_focused_training": (False,),
    "multicontext multidataset_wte numerical_multicontext import_wte_freeze": (False,),
    "import_scale_matrices_freeze muon_include_all_weights reset_best_val_loss_on_resume": (False,),
    "shared_attn_sym shared_mlp_sym strongermax_overflow_recompute consmax_v2_clamping": (False,),
    "use_attn_resid_scaling use_edgellm_asic use_embedding_scale use_fire_embeddings use_gradual_activation": (False,),
    "use_ln_f_input_mixer use_lsv use_mla_lobo use_mlp_resid_scaling use_moe use_parallel_mlp": (False,),
    "mlp_post_act_l2_norm attn_post_act_l2_norm l2_norm_mlp_up l2_norm_mlp_down l2_norm_attn_q": (False,),
    "l2_norm_attn_k l2_norm_attn_v l2_norm_attn_cproj": (False,),
    "apply_vector_at_layer_idx obtain_vector_at_layer_idx distillation_loss gns_type loss_schedule": (None,),
    "load_config_json max_epochs max_seconds max_tokens n_embd_wte norm_channel_variant norm_variant_abs": (None,),
    "norm_variant_lm_head norm_variant_wte patience full_quant_iteration quant_scheduler": (None,),
    "mlp_up_bias mlp_down_bias use_pre_ln_attn use_pre_ln_mlp use_peri_ln_attn use_peri_ln_mlp": (None,),
    "use_post_ln_attn use_post_ln_mlp": (None,),
}
"""What the sandbox has and tunemax has not: its settings, and the values at which they change nothing."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {name: values for names, values in WITHOUT.items() for name in _words(names)}
QUANTIZE, LAYERLIST = "quantize_", "_layerlist"
"""What such settings begin or end with: they are switches, too, and there is neither quantization nor a layer's own."""

LOGGING = _words(
    """
    always_save_checkpoint compute_model_stats consmax_beta_gamma_logging create_statistics dataset_benchmarks
    eta_variant eval_cycle_window eval_dataset graph_type interactive iteration_window last_k_tokens
    max_sample_tokens model_stats_device never_save_checkpoint num_samples onnx_output
    only_save_checkpoint_at_end out_dir quantization_data_file save_config_json save_major_ckpt_interval
    save_nan_checkpoint softmax_threshold statistic stop_string store_activations temperature
    time_remaining_mode timestamp token_boundary top_k cosine_penalty chart_type l2_norm_print_dims
    passive_distillation_loss_log
    """
)
LOGGING_PREFIXES = _words(
    """
    box_plot_ coloriz csv_ export_ log_ plot_ print_ sample_ show_ softmax_io_ tensorboard_ wandb_ zeus_
    """
)
MACHINE = _words(
    """
    backend compile device disable_flash_attention recompute_backward_pass use_flash_norm use_flex_attn
    use_gradient_checkpointing
    """
)
ASIDE = {
    "what is logged, sampled or kept": (LOGGING, LOGGING_PREFIXES),
    "decided by the machine that trains": (MACHINE, ()),
    "measured on eval_tokens of the text here": (("eval_iters",), ()),
}
"""Settings that change nothing that is trained, by why they are left out: whole names, and what names begin with."""

OPTIONS = _words(
    """
    activation_decay activation_end activation_sta activation_transition_ activations_quant_ adabelief_
    adabound_ adadelta_ adafactor_ adagrad_ adamax_ adamod_ adams_ adamw_betas adan_ adaptive_linear_ ademamix_
    apollo_ apply_lsv_ apply_vector_ asgd_ attention_residual_ attn_confidence_ attn_resid_ attn_residual_alpha
    bit_loss_ consmax_v2_clamp_ cyclic_abs_pos_ dact_ dataset_interleaving dataset_sampling_ distillation_
    embedding_gaussian_ embedding_scale_ entropy_beta exponential_ fire_ flatness_ focal_ gaussian_ gns_ gpt2_
    hsnorm_ init_from_ init_radius init_scale init_wte_ kan_ krmsnorm_ label_smoothing lamb_ lbfgs_
    learn_attn_resid_ learn_mlp_resid_ ln_f_ lookahead_ lpe_ lsa_ lsv_ l2_norm_ mezo_ mla_ mlp_confidence_
    mlp_resid_ mlp_residual_alpha mod_fn moe_ multicontext_ muon_exclude_ muon_force_ n_cproj n_embd_wte_
    n_experts n_latent nadam_ norm_abs_ norm_channel_ norm_lm_head_ norm_wte_ numerical_ obtain_vector_
    opt_betas opt_eps opt_weight_decay ortho_ pfla_ pid_ pla_ plateau_ prev_run_ prmsnorm_ quantization_warmup_
    rank_scale relu_power resid_gaussian_ residual_slerp_ rmsprop_ rprop_ shampoo_ shared_fire_ shifted_gelu_
    soap_ softshrink_lambda sophiag_ ssm_ start_quant_ step_lr_ strongermax_overflow_ sym_rot_ target_layer_
    top1_ triadic_ use_attn_resid_const use_mlp_resid_const varlr_ vocab_sizes
    """
)
"""What options of parts begin with that tunemax has not. What would choose such a part is refused, so beside what is
taken they mean nothing."""


def place(name: str) -> str:
    """Why a setting is left out whatever its value: one of ASIDE, or that it is an option of what is not here; empty
    for one that decides something. Raises TunemaxError for a name that the sandbox does not have."""
    if name in NAMES or name in NEUTRAL or name.startswith(QUANTIZE) or name.endswith(LAYERLIST):
        return ""
    for reason, (whole, prefixes) in ASIDE.items():
        if name in whole or name.startswith(prefixes):
            return reason
    if name.startswith(OPTIONS):
        return "options of parts that are not here"
    near = did_you_mean(name, {*NAMES, *NEUTRAL, *LOGGING, *MACHINE, "eval_iters"})
    raise TunemaxError(f"{shown(name)}: no such setting of the sandbox{near}")


def known(name: str, where: Where) -> None:
    """Raise Fault for a name that the sandbox does not have."""
    try:
        place(str(name))
    except TunemaxError as error:
        raise Fault(where, str(error)) from None


def said(value: Any) -> Any:
    """A value as a message shows it: several words of one value stand side by side."""
    return " ".join(value) if isinstance(value, tuple) else value


def read(name: str, value: Any, where: Where) -> Value:
    """A value of a setting that is translated, as its type. Raises Fault."""
    kind = NAMES[name].kind
    found = _read(kind, value)
    if found is None:
        expected = {bool: "true or false", int: "a whole number", float: "a number", str: "one name"}[kind]
        raise Fault(where, f"{name} = {shown(said(value))}: expected {expected}")
    return found


def _read(kind: type[Value], value: Any) -> Value | None:
    if kind is bool:
        words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        return value if isinstance(value, bool) else words.get(str(value).lower())
    if isinstance(value, (bool, tuple)):
        return None
    if kind is str:
        return str(value)
    if kind is int:
        return value if isinstance(value, int) else whole_number(str(value))
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None
