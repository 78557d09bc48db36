"""Data that no program may fetch: what to get, where, on which terms, and what comes next."""

from __future__ import annotations

BY_HAND = {
    "la-challenge": """\
2018 Atrial Segmentation Challenge: the raw scans behind the data set "la"
  get    the training set of 100 cases from https://www.cardiacatlas.org/atriaseg2018-challenge/
         (registration)
  terms  those of the registration, for research; cite Xiong et al., Medical Image Analysis 67, 2021
  put    {root}/<case>/lgemri.nrrd (scan) and {root}/<case>/laendo.nrrd (mask, 255 = atrium); <case>
         is each folder's name as it comes; the published lists use these names
  next   dualseg data prepare la --images {root} --out LA
  note   `dualseg data fetch la` needs no registration: the same cases, normalised and cropped round
         the ground truth by the authors of UA-MT. The raw scans allow a crop that does not look at
         the label: add --crop centre --size 256 256 88""",
    "pancreas": """\
NIH Pancreas-CT: abdominal CT with pancreas masks
  get    from https://www.cancerimagingarchive.net/collection/pancreas-ct/ (the images come as
         DICOM through the archive's own downloader, the masks as a zip of label0001.nii.gz and
         so on)
  terms  those on the collection's page (an attribution licence); cite Roth et al., MICCAI 2015, and
         Clark et al., Journal of Digital Imaging 26, 2013
  put    {root}/images/PANCREAS_0001/.../*.dcm, or NIfTI files whose names end in the four digits,
         and {root}/labels/label0001.nii.gz
  next   dualseg data prepare pancreas --images {root}/images --labels {root}/labels --out PANCREAS
  note   Published results use three protocols that cannot be compared (--lists mcf0 to mcf3, mcnet,
         coranet). The first two are of 82 cases. The archive has since withdrawn cases 0025 and
         0070 as repeats of patients already in the collection, so the 82-case lists can train on
         a test patient's twin (0025 and 0070 fall in different folds). With the 80 cases
         that there are today, `prepare` takes the CoraNet lists; `dualseg data check` looks for
         scans that are alike. Most programs use 12 labels, the paper 6 and 12""",
    "brats2019": """\
BraTS 2019: brain MR in four modalities with tumour masks
  get    the training data (335 cases, MICCAI_BraTS_2019_Data_Training, folders HGG and LGG) through
         https://www.med.upenn.edu/cbica/brats2019/ (registration)
  terms  those of the registration, for research; cite Menze et al., IEEE TMI 34, 2015, Bakas et
         al., Scientific Data 4, 2017, and Bakas et al., arXiv:1811.02629
  put    {root}, as unpacked: <case>/<case>_flair.nii.gz, _t1, _t1ce, _t2 and _seg, at any depth
  next   dualseg data prepare brats2019 --images {root} --out BRATS
  note   The compared methods use FLAIR alone and the whole tumour as one foreground; so does this.
         --modalities flair t1 t1ce t2 makes four channels, --values 1 2 4 three classes""",
}
"""Instructions by data set; {root} is where the user wants the files."""
