"""What a header says of an image's kind and body part, and whether a model is meant for it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from serving.errors import ImageError

REGIONS = ("hand", "hip", "leg", "shoulder")
"""Regions that terms are known for, as data sets and bundles name them."""

_WORDS = {
    "hand": (
        "HAND HANDS WRIST WRISTS FINGER FINGERS THUMB CARPUS CARPAL SCAPHOID METACARPAL METACARPUS FOREARM "
        "RADIUS RADIAL ULNA ULNAR HANDGELENK UNTERARM DAUMEN MANO MUNECA POIGNET DOIGT HAENDE HANDWURZEL "
        "MITTELHAND MAIN MAINS POIGNETS DOIGTS POUCE AVANTBRAS MANOS MUNECAS DEDO DEDOS PULGAR ANTEBRAZO MANI "
        "POLSO DITO DITA POLLICE AVAMBRACCIO MAO MAOS PUNHO POLEGAR ANTEBRACO POLS VINGER VINGERS DUIM "
        "ONDERARM"
    ),
    "leg": (
        "LEG LEGS LOWERLEG LOWERLIMB FOOT FEET TOE TOES HALLUX ANKLE ANKLES HEEL CALCANEUS TALUS TARSUS "
        "TARSAL METATARSAL METATARSUS FOREFOOT HINDFOOT KNEE KNEES PATELLA TIBIA TIBIAL FIBULA FIBULAR "
        "TIBIAFIBULA TIBFIB FEMUR THIGH UPPERLEG KNIE FUSS SPRUNGGELENK UNTERSCHENKEL OBERSCHENKEL GENOU PIED "
        "CHEVILLE RODILLA PIE TOBILLO BEIN BEINE FUESSE VORFUSS FERSE ZEHE ZEHEN KNIESCHEIBE JAMBE JAMBES "
        "PIEDS GENOUX CHEVILLES TALON ORTEIL ORTEILS CUISSE ROTULE PIERNA PIERNAS PIES RODILLAS TOBILLOS "
        "MUSLO ROTULA GAMBA GAMBE PIEDE PIEDI GINOCCHIO GINOCCHIA CAVIGLIA CALCAGNO COSCIA FEMORE PERNA "
        "PERNAS JOELHO JOELHOS TORNOZELO CALCANEO BEEN BENEN VOET VOETEN ENKEL ENKELS HIEL TENEN ONDERBEEN "
        "BOVENBEEN"
    ),
    "hip": (
        "HIP HIPS HIPJOINT ACETABULUM HUEFTE HANCHE CADERA HUEFTEN HUEFTGELENK HANCHES CADERAS ANCA ANCHE "
        "QUADRIL HEUP HEUPEN"
    ),
    "shoulder": (
        "SHOULDER SHOULDERS CLAVICLE CLAVICULA SCAPULA ACROMION ACROMIOCLAVICULAR ACJOINT GLENOHUMERAL "
        "SCHULTER EPAULE HOMBRO SCHULTERN SCHULTERBLATT SCHLUESSELBEIN EPAULES CLAVICULE OMOPLATE HOMBROS "
        "OMOPLATO SPALLA SPALLE CLAVICOLA SCAPOLA OMBRO OMBROS SCHOUDER SCHOUDERS SLEUTELBEEN"
    ),
    "chest": (
        "CHEST THORAX TORAX CXR LUNG LUNGS RIB RIBS STERNUM STERNOCLAVICULAR MEDIASTINUM HEART CARDIAC "
        "TRACHEA BRONCHUS ESOPHAGUS OESOPHAGUS BRUST BRUSTKORB LUNGE LUNGEN RIPPE RIPPEN HERZ POUMON POUMONS "
        "POITRINE COEUR PULMON PULMONES COSTILLA COSTILLAS PECHO CORAZON TORACE POLMONE POLMONI COSTOLE CUORE "
        "PULMAO PULMOES COSTELA COSTELAS PEITO CORACAO BORSTKAS LONGEN RIBBEN CHESTABD CHESTABDOMEN NECKCHEST "
        "NECKCHESTABDOMEN"
    ),
    "skull": (
        "SKULL HEAD BRAIN CRANIUM CRANIAL SCHAEDEL KOPF FACE FACIAL FACIALBONES ORBIT ORBITAL EYE EAR MASTOID "
        "SINUS SINUSES PARANASAL NASAL NOSE JAW MANDIBLE MAXILLA ZYGOMA TMJ TEMPOROMANDIBULAR SELLA TEETH "
        "TOOTH DENTAL OPTIC AUDITORY PAROTID SUBMANDIBULAR SCHADEL GESICHT KIEFER UNTERKIEFER OBERKIEFER "
        "CRANE VISAGE MACHOIRE MANDIBULE CRANEO MANDIBULA CRANIO MANDIBOLA SCHEDEL KAAK HEADNECK"
    ),
    "spine": (
        "SPINE SPINAL VERTEBRA VERTEBRAE VERTEBRAL CSPINE TSPINE LSPINE SSPINE CTSPINE TLSPINE LSSPINE "
        "CERVICAL THORACIC LUMBAR LUMBOSACRAL SACROCOCCYGEAL SACRUM COCCYX SCOLIOSIS WIRBELSAEULE HWS BWS LWS "
        "COLUMNA RACHIS HALSWIRBELSAEULE BRUSTWIRBELSAEULE LENDENWIRBELSAEULE COLONNE LOMBAIRE COLONNA "
        "RACHIDE LOMBARE COLUNA LOMBAR WERVELKOLOM"
    ),
    "neck": "NECK LARYNX PHARYNX THYROID HALS",
    "abdomen": (
        "ABDOMEN ABDOMINAL KUB STOMACH DUODENUM COLON INTESTINE JEJUNUM ILEUM RECTUM ANUS LIVER BILIARY BILE "
        "GALLBLADDER PANCREAS PANCREATIC KIDNEY KIDNEYS RENAL URETER URETHRA BLADDER URINARY UTERUS PROSTATE "
        "BAUCH VENTRE ADDOME ABDOME BUIK"
    ),
    "breast": "BREAST MAMMA SEIN SEINS SENO",
    "phantom": "PHANTOM",
    "": (
        "EXTREMITY EXTREMITIES LIMB LIMBS PELVIS PELVIC BECKEN BASSIN ARM UPPERARM UPPERLIMB HUMERUS HUMERAL "
        "FEMORAL ELBOW ELBOWS ILIUM SACROILIAC BODY WHOLEBODY SKELETON BONE BONES JOINT MUSCLE OBERARM "
        "ELLBOGEN ELLENBOGEN EXTREMITAET EXTREMITAETEN KNOCHEN GELENK SKELETT BRAS COUDE COUDES MEMBRE "
        "MEMBRES FEMORALE HUMERALE RADIALE BRAZO CODO HUMERO EXTREMIDAD EXTREMIDADES MIEMBRO BRACCIO GOMITO "
        "OMERO BACINO BRACO COTOVELO BACIA BOVENARM ELLEBOOG BEKKEN ABDPELV ABDPELVIS ABDOMENPELVIS "
        "CHESTABDPELV CHESTABDPELVIS NECKCHESTABDPELV NECKCHESTABDPELVIS"
    ),
}
"""Areas of the body and the words for them: English, German, French, Spanish, Italian, Portuguese and Dutch.

Left out are words that mean something else as well: the heads of other bones (TETE, TESTA, CABEZA), sides (COTES).
The nameless area's words may hold any region, or stand for what nobody showed a model to be bad for: they never refuse.
"""
_AREAS: Mapping[str, str] = {word: area for area, words in _WORDS.items() for word in words.split()}
_SIDES = ("L", "R", "LT", "RT", "LEFT", "RIGHT")
_ACCENTS = {"A": "ÀÁÂÃ", "C": "Ç", "E": "ÈÉÊË", "I": "ÌÍÎÏ", "N": "Ñ", "O": "ÒÓÔÕ", "U": "ÙÚÛ"}
_OTHER_MODALITIES = {
    "CT": "computed tomography",
    "MR": "magnetic resonance",
    "US": "ultrasound",
    "IVUS": "ultrasound",
    "NM": "nuclear medicine",
    "PT": "positron emission tomography",
    "XA": "angiography",
    "MG": "mammography",
    "BMD": "bone densitometry",
    "IO": "intra-oral radiography",
    "PX": "panoramic radiography",
    "DG": "diaphanography",
    "TG": "thermography",
    "ES": "endoscopy",
    "OP": "ophthalmic photography",
    "OPT": "ophthalmic tomography",
    "OCT": "optical coherence tomography",
    "IVOCT": "optical coherence tomography",
    "GM": "microscopy",
    "SM": "slide microscopy",
    "XC": "photography",
    "DMS": "dermoscopy",
    "ECG": "electrocardiography",
    "RTIMAGE": "radiotherapy",
    "RTDOSE": "radiotherapy",
    "SEG": "segmentation",
}
"""Modalities (PS3.3, C.7.3.1.1.1) of which no object is a radiograph; any other, or none, is one that may be."""
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_CLASSES = {
    "MG": "1.2 13.1.3 13.1.4 13.1.5",
    "IO": "1.3",
    "CT": "2 13.1.2",
    "US": "3 3.1 6 6.1 6.2",
    "MR": "4",
    "XA": "12.1 12.3 13.1.1",
    "IVOCT": "14",
    "NM": "20",
    "SEG": "66.4",
    "XC": "77.1 77.2",
    "OP": "78 81 82",
    "PT": "128 130",
    "RTIMAGE": "481",
}
"""SOP classes (PS3.4, B.5) below `_STORAGE`, with those derived from them, and what their modality would be."""
_OTHER_CLASSES = {number: modality for modality, numbers in _CLASSES.items() for number in numbers.split()}


class Described(Protocol):
    """What `decode.Header` says of an image's kind."""

    @property
    def modality(self) -> str:
        """The modality's code, empty where unknown."""

    @property
    def sop_class_uid(self) -> str:
        """The SOP class, empty where unknown."""

    @property
    def body_part(self) -> str:
        """Body part and anatomic region in words, empty where unknown."""


@dataclass(frozen=True)
class Refused:
    """What a header may say that keeps an image from an answer."""

    modalities: Mapping[str, str]
    """Code and meaning of each modality of which no object is a radiograph."""
    body_parts: tuple[str, ...]
    """Areas of the body, as a refusal names them."""


def refused(regions: Iterable[str] = REGIONS) -> Refused:
    """What `check_scope` refuses for a model that was trained for `regions`."""
    passed = _passed(tuple(regions))
    return Refused(dict(_OTHER_MODALITIES), tuple(sorted(set(_WORDS) - passed)))


def region_of(body_part: str) -> str:
    """The one of REGIONS that a body part's words name, empty where they name none or several."""
    named = {area for area in _areas(body_part) if area in REGIONS}
    return named.pop() if len(named) == 1 else ""


def check_scope(header: Described, regions: Iterable[str] = REGIONS, warn: bool = False) -> str:
    """Refuse an image whose header says that it is none of a model's; ImageError `out_of_scope`.

    `regions` are those that the model was trained for. With `warn` the reason is given back instead; it is empty where
    nothing speaks against the image. A header that says nothing, or a word that is not known, never refuses.
    """
    intended = tuple(regions)
    found = _reason(header, intended)
    if not found:
        return ""
    meant = ", ".join(intended) if intended else ", ".join(REGIONS)
    message = f"the header says {found}; this model is for radiographs of: {meant}"
    if warn:
        return message
    raise ImageError("out_of_scope", message)


def _reason(header: Described, regions: tuple[str, ...]) -> str:
    modality = header.modality.strip().upper()
    modality = modality if modality in _OTHER_MODALITIES else _modality_of(header.sop_class_uid)
    if modality:
        return f"{_OTHER_MODALITIES[modality]} ({modality})"
    areas = set(_areas(header.body_part))
    return "" if areas & _passed(regions) else " and ".join(sorted(areas))


def _passed(regions: tuple[str, ...]) -> frozenset[str]:
    """The areas of `_WORDS` that a model for these regions may be asked about."""
    wanted = {region.casefold() for region in regions or REGIONS}
    # A model whose regions have other names than ours may be meant for any of them.
    ours = () if wanted <= set(_WORDS) else REGIONS
    return frozenset({"", *wanted, *ours})


def _modality_of(sop_class: str) -> str:
    """The modality of `_OTHER_MODALITIES` that a SOP class belongs to, empty where it may be a radiograph's."""
    parts = sop_class.removeprefix(_STORAGE).split(".") if sop_class.startswith(_STORAGE) else []
    keys = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((_OTHER_CLASSES[key] for key in keys if key in _OTHER_CLASSES), "")


def _areas(body_part: str) -> list[str]:
    """The area of each word, or pair of words, that is known; empty for one that never refuses."""
    words = re.split(r"[^A-Z]+", body_part.upper().translate(_UMLAUTS))
    joined = ["".join(pair) for pair in pairwise(words)]
    return [area for word in [*words, *joined] if (area := _area_of(word)) is not None]


def _area_of(word: str) -> str | None:
    """A word's area. A side may stand before it, but never makes a word one that refuses."""
    found = _AREAS.get(word)
    if found is not None:
        return found
    bare = [_AREAS.get(word.removeprefix(side)) for side in _SIDES if word.startswith(side)]
    return next((area for area in bare if area == "" or area in REGIONS), None)


_UMLAUTS = str.maketrans(
    {"Ä": "AE", "Ö": "OE", "Ü": "UE", "ß": "SS"}
    | {accented: plain for plain, many in _ACCENTS.items() for accented in many}
)
