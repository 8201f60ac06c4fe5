"""The table of public sets: what each one holds, who published it, and where it lies.

Counts are those of the prepared tables, and agree with the literature where that states them.
Citations were written down from general knowledge: check one before it is printed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """A public set of votes: its counts, its paper, its source and what to know before using it."""

    items: int
    workers: int
    votes: int
    classes: int
    truths: int  # items with votes whose truth is published
    citation: str
    source: str  # GitHub repository @ commit
    files: tuple[str, ...] = ()  # paths in the repository; none where the source is not fetched
    layout: str = ""  # of these files, a name in `raw.LAYOUTS`
    note: str = ""


SNOW = "Snow, O'Connor, Jurafsky, Ng: Cheap and Fast - But is it Good? EMNLP 2008"
SNOW_SOURCE = "edwinrobots/bayesian_combination_tutorial2@f98448e2e9a9"
ZHOU = "Zhou, Platt, Basu, Mao: Learning from the Wisdom of Crowds by Minimax Entropy, NIPS 2012"
ADULT = "Ipeirotis, Provost, Wang: Quality Management on Amazon Mechanical Turk, HCOMP 2010"
RODRIGUES = (
    "Rodrigues, Pereira, Ribeiro: Learning from multiple annotators: distinguishing good from "
    "random labelers, Pattern Recognition Letters 34(12) 2013"
)
SURVEY_SOURCE = "zhydhkcws/crowd_truth_infer@6dfcd829267d291b035405898b9a407e8a366241"
SCALE_SOURCE = "yuan-li/truth-inference-at-scale@ff6d32971fb3ca17e2f0c784a126d8b26495dbce"
TOOLKIT_SOURCE = "orchidproject/active-crowd-toolkit@2c0c194e85ca126545bd830d811ec39151bdd448"
SCALE = "data/SpectralMethodsMeetEM"
ADULT_FILES = tuple(
    f"data/crowd_truth_inference/s5_AdultContent/{part}.csv" for part in ("label", "truth")
)

DATASETS: dict[str, Dataset] = {
    "anesthesia": Dataset(
        45,
        5,
        315,
        4,
        0,
        "Dawid, Skene: Maximum Likelihood Estimation of Observer Error-Rates Using the EM "
        "Algorithm, Applied Statistics 28(1) 1979",
        "table 1 of the paper",
        note="ships with the package; 45 patients, 5 anaesthetists, the first of whom rated each "
        "patient three times; no truth",
    ),
    "rte": Dataset(
        800,
        164,
        8000,
        2,
        800,
        SNOW,
        SNOW_SOURCE,
        ("all_collected_data/rte.standardized.tsv",),
        "snow",
        "textual entailment: 1 entailed, 0 not",
    ),
    "temp": Dataset(
        462,
        76,
        4620,
        2,
        462,
        SNOW,
        SNOW_SOURCE,
        ("all_collected_data/temp.standardized.tsv",),
        "snow",
        "temporal order of two events",
    ),
    "wsd": Dataset(
        177,
        34,
        1770,
        3,
        177,
        SNOW,
        SNOW_SOURCE,
        ("all_collected_data/wsd.standardized.tsv",),
        "snow",
        "which sense of 'president'",
    ),
    "bluebird": Dataset(
        108,
        39,
        4212,
        2,
        108,
        "Welinder, Branson, Perona, Belongie: The Multidimensional Wisdom of Crowds, NIPS 2010",
        SURVEY_SOURCE,
        ("datasets/d_Duck Identification/answer.csv", "datasets/d_Duck Identification/truth.csv"),
        "survey",
        "Indigo Bunting (1) or not; every worker judged every image",
    ),
    "dog": Dataset(
        807,
        109,
        8070,
        4,
        807,
        ZHOU,
        SURVEY_SOURCE,
        ("datasets/s4_Dog data/answer.csv", "datasets/s4_Dog data/truth.csv"),
        "survey",
        "4 breeds of dog",
    ),
    "web": Dataset(
        2665,
        177,
        15567,
        5,
        2653,
        ZHOU,
        SCALE_SOURCE,
        (f"{SCALE}/web/label.csv", f"{SCALE}/web/truth.csv"),
        "scale",
        "relevance of web pages, 5 ordered grades; 12 items have no truth",
    ),
    "trec": Dataset(
        19033,
        762,
        88385,
        2,
        2275,
        "Lease, Kazai: Overview of the TREC 2011 Crowdsourcing Track, TREC 2011",
        SCALE_SOURCE,
        (f"{SCALE}/trec/label.csv", f"{SCALE}/trec/truth.csv"),
        "scale",
        "relevance of documents; only 2275 items have truth",
    ),
    "adult": Dataset(
        11040,
        825,
        92721,
        4,
        333,
        ADULT,
        SCALE_SOURCE,
        ADULT_FILES,
        "scale",
        "adult content of web pages, 4 ordered grades; 2922 repeated votes; 333 items have truth",
    ),
    "adult2": Dataset(
        333,
        269,
        3324,
        4,
        333,
        ADULT,
        SCALE_SOURCE,
        ADULT_FILES,
        "scale-with-truth",
        "the items of adult that have truth; not independent of it",
    ),
    "music": Dataset(
        700,
        44,
        2945,
        10,
        700,
        RODRIGUES,
        TOOLKIT_SOURCE,
        ("Data/MS.csv",),
        "toolkit",
        "genre of 30 s of music",
    ),
    "sp": Dataset(
        4999,
        203,
        27746,
        2,
        4999,
        RODRIGUES,
        TOOLKIT_SOURCE,
        ("Data/SP.csv",),
        "toolkit",
        "polarity of sentences from film reviews",
    ),
    "sp_amt": Dataset(
        500,
        143,
        10000,
        2,
        500,
        "Venanzi, Parson, Rogers, Jennings: The ActiveCrowdToolkit, HCOMP 2015",
        TOOLKIT_SOURCE,
        ("Data/SP_amt.csv",),
        "toolkit",
        "500 sentences of sp, labelled anew; not independent of it",
    ),
    "labelme": Dataset(
        1000,
        59,
        2547,
        8,
        1000,
        "Rodrigues, Pereira: Deep Learning from Crowds, AAAI 2018",
        "fmenat/PyLearningCrowds@272bf1deb6237908262b8103ae0538ae08638f41",
        ("data/LabelMe/answers.txt", "data/LabelMe/LabelMe_Z_train.txt"),
        "matrix",
        "8 classes of scenes; items and workers are row and column numbers",
    ),
    "face": Dataset(
        584,
        27,
        5242,
        4,
        584,
        "Mozafari, Sarkar, Franklin, Jordan, Madden: Scaling Up Crowd-Sourcing to Very Large "
        "Datasets, PVLDB 8(2) 2014",
        SURVEY_SOURCE,
        (
            "datasets/s4_Face Sentiment Identification/answer.csv",
            "datasets/s4_Face Sentiment Identification/truth.csv",
        ),
        "survey",
        "4 expressions of faces",
    ),
    "product": Dataset(
        8315,
        176,
        24945,
        2,
        8315,
        "Wang, Kraska, Franklin, Feng: CrowdER, PVLDB 5(11) 2012",
        SURVEY_SOURCE,
        ("datasets/d_jn-product/answer.csv", "datasets/d_jn-product/truth.csv"),
        "survey",
        "same product (1) or not; 1011 of 8315 items are",
    ),
    "flowers": Dataset(
        200,
        36,
        2366,
        2,
        200,
        "Tian, Zhu: Max-Margin Majority Voting for Learning from Crowds, NIPS 2015",
        "coverdark/deep_laa@275ebc859a7169f800f626d7cc16e7ca9b707e86",
        ("flower_data.npz",),
        "one-hot",
        "peach flower or not; items and workers are row and column numbers",
    ),
    "cifar10n": Dataset(
        50000,
        3,
        150000,
        10,
        50000,
        "Wei, Zhu, Cheng, Liu, Niu, Liu: Learning with Noisy Labels Revisited, ICLR 2022",
        "UCSC-REAL/cifar-10-100n@49df7d8a69e3",
        note="a worker is one of three slots that hold many people each; the source is a Python "
        "pickle, which could run anything when it is opened, so it is not fetched",
    ),
    "hs_brexit": Dataset(
        1120,
        6,
        6720,
        2,
        0,
        "Akhtar, Basile, Patti: Whose Opinions Matter? arXiv:2106.15896",
        "Le-Wi-Di/le-wi-di.github.io@45d7b06e4c36",
        tuple(
            f"LeWiDi_2-2023/HS-Brexit_dataset/HS-Brexit_{part}.json"
            for part in ("train", "dev", "test")
        ),
        "lewidi",
        "hate speech, a matter of opinion: no truth, and a majority label is none",
    ),
    "popquorn_offensiveness": Dataset(
        1500,
        262,
        13036,
        5,
        0,
        "Pei, Jurgens: When Do Annotator Demographics Matter? LAW-XVII 2023",
        "Jiaxin-Pei/Potato-Prolific-Dataset@c329119e878037654f6aa59b319aae6e996585bb",
        ("dataset/offensiveness/raw_data.csv",),
        "popquorn",
        "offensiveness of comments, 1 to 5, a matter of opinion: no truth",
    ),
}
"""Every public set by name."""
